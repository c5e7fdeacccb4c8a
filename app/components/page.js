// What the components' scripts share: put before each of them.

// Goes to another page of the app as its own links do: one step of the browser's history, no page load. (Leaving it to
// Python would write the new parameters under the old page first, and Back would stop there without its filters.)
// The new page starts at its top; where the old one was scrolled to is kept for the way back.
function follow(href) {
  clearInterval(window._itdaScrolling);
  places().set(window.location.href, scroller()?.scrollTop ?? 0);
  window.history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate"));
  scroller()?.scrollTo(0, 0);
}

function scroller() {
  return document.querySelector('[data-testid="stMain"]');
}

// Scroll positions of the pages left so far, by URL; all components share them.
function places() {
  if (!window._itdaPlaces) {
    window._itdaPlaces = new Map();
    window.addEventListener("popstate", (event) => event.isTrusted && scrollBack());
    for (const kind of ["wheel", "touchstart", "keydown", "mousedown"]) {
      window.addEventListener(kind, () => clearInterval(window._itdaScrolling));
    }
  }
  return window._itdaPlaces;
}

// Scrolls to where the page was left, as often as it takes to be drawn, unless the reader scrolls meanwhile.
function scrollBack() {
  clearInterval(window._itdaScrolling);
  const place = places().get(window.location.href);
  if (!place) return;
  const until = Date.now() + 3000;
  window._itdaScrolling = setInterval(() => {
    scroller()?.scrollTo(0, place);
    if (Date.now() > until) clearInterval(window._itdaScrolling);
  }, 100);
}

// Whether a click asks for this page, rather than for another tab or window.
function isPlain(event) {
  return !(event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0);
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
