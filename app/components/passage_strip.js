// Draws a passage of passage_strip.py. Text enters the page through textContent only. (`element` is in page.js.)

function tokenSpan([text, tint, title, mark]) {
  const span = element("span", "itda-p-token", text);
  if (mark) span.classList.add(`itda-p-${mark}`);
  if (tint) span.style.setProperty("--itda-tint", `${Math.round(tint * 100)}%`);
  if (title) span.title = title;
  return span;
}

// One group at a time can be reached with Tab. From there the arrow keys go on: of one dictionary, by the page's own
// buttons, and of two, by `step`.
function drawGroup(group, isReached) {
  const made = element("span", "itda-p-group");
  for (const tokens of group.lines) {
    const line = element("span", "itda-p-line");
    line.append(...tokens.map(tokenSpan));
    made.append(line);
  }
  if (group.note) made.append(element("span", "itda-p-number", group.note));
  if (group.key !== null) {
    made.dataset.key = group.key;
    made.tabIndex = isReached ? 0 : -1;
    made.setAttribute("role", "button");
    made.setAttribute("aria-label", group.label);
    if (group.chosen) {
      made.classList.add("itda-p-chosen");
      made.setAttribute("aria-pressed", "true");
    }
  }
  return made;
}

function drawLegend(legend) {
  const made = element("div", "itda-p-legend");
  made.append(element("span", "", legend.label), element("span", "", legend.low));
  made.append(element("span", "itda-p-scale"), element("span", "", legend.high));
  return made;
}

function drawNames(names) {
  const made = element("div", "itda-p-names");
  made.append(...names.map((name) => element("div", "", name)));
  return made;
}

// The groups that can be chosen are one step of the Tab key, within which the arrow keys move, Home and End to the ends.
function step(text, event) {
  const groups = [...text.querySelectorAll("[data-key]")];
  const at = groups.indexOf(event.target.closest("[data-key]"));
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: groups.length - 1 }[event.key];
  if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!groups[to]) return;
  groups[at].tabIndex = -1;
  groups[to].tabIndex = 0;
  groups[to].focus();
}

export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".itda-p");
  if (!root) {
    root = element("div");
    parentElement.append(root);
  }
  const isOfTwo = data.names.length > 1;
  root.className = `itda-p ${isOfTwo ? "itda-p-two" : "itda-p-one"}`;
  const text = element("div", "itda-p-text");
  text.dir = "ltr";
  if (isOfTwo) {
    text.setAttribute("role", "toolbar");
    text.setAttribute("aria-label", "Parts of the passage: the arrow keys move, Enter chooses");
  }
  // What is drawn anew takes over the focus.
  const focused = isOfTwo && root.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
  const reached =
    data.groups.find((group) => focused && group.key === Number(focused.dataset.key)) ??
    data.groups.find((group) => group.chosen) ??
    data.groups.find((group) => group.key !== null);
  for (const group of data.groups) {
    text.append(drawGroup(group, group === reached));
    if (group.breaks) text.append(element("br"));
  }
  if (data.rest) text.append(element("span", "itda-p-rest", data.rest));
  const pick = (event) => {
    const group = event.target.closest("[data-key]");
    if (group) setTriggerValue("picked", Number(group.dataset.key));
    return group;
  };
  text.onclick = (event) => {
    if (!window.getSelection()?.toString()) pick(event);
  };
  text.onkeydown = (event) => {
    if ((event.key === "Enter" || event.key === " ") && pick(event)) event.preventDefault();
    else if (isOfTwo) step(text, event);
  };
  root.replaceChildren(...(isOfTwo ? [drawNames(data.names)] : []), text, drawLegend(data.legend));
  if (focused) text.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
}
