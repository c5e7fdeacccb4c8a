// Draws a passage of passage_strip.py. Text enters the page through textContent only. (`element` is in page.js.)

function tokenSpan([text, tint, title, mark]) {
  const span = element("span", "itda-p-token", text);
  if (mark) span.classList.add(`itda-p-${mark}`);
  if (tint) span.style.setProperty("--itda-tint", `${Math.round(tint * 100)}%`);
  if (title) span.title = title;
  return span;
}

// The arrow keys go to the page's own buttons, so one token at a time can be reached with Tab.
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

export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".itda-p");
  if (!root) {
    root = element("div");
    parentElement.append(root);
  }
  root.className = `itda-p ${data.names.length > 1 ? "itda-p-two" : "itda-p-one"}`;
  const text = element("div", "itda-p-text");
  text.dir = "ltr";
  const reached = data.groups.find((group) => group.chosen) ?? data.groups.find((group) => group.key !== null);
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
  };
  root.replaceChildren(...(data.names.length > 1 ? [drawNames(data.names)] : []), text, drawLegend(data.legend));
}
