// What the components' scripts share: put before each of them.

// Goes to another page of the app as its own links do: one step of the browser's history, no page load. (Leaving it to
// Python would write the new parameters under the old page first, and Back would stop there without its filters.)
function follow(href) {
  window.history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate"));
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
