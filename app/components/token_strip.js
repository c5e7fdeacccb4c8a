// Draws the rows of token_strip.py, behind page.js. Text enters the page through textContent only.

// `isReached` tokens can be focused or tapped, which shows their coefficient; a mouse has it in any row.
function tokenSpan([text, tint, number, mark], isReached) {
  const marks = mark ? mark.split(" ") : [];
  const isCentre = marks.includes("centre");
  const classes = ["itda-token", ...marks.map((name) => `itda-${name}`)];
  if (tint) classes.push(tint > 0 ? "itda-positive" : "itda-negative");
  const span = element(marks.includes("match") ? "mark" : "span", classes.join(" "), text);
  if (tint) span.style.setProperty("--itda-tint", `${Math.round(Math.abs(tint) * 100)}%`);
  if (number) span.title = number;
  if (number && isReached && !isCentre) {
    span.tabIndex = 0;
    span.setAttribute("role", "button"); // a name is read for elements with a role only
    span.setAttribute("aria-label", `${text.trim()}, coefficient ${number}`);
    span.dataset.number = number;
  }
  if (number && isCentre) {
    const holder = element("span", "itda-marked");
    holder.append(span, element("span", "itda-number", number));
    return holder;
  }
  return span;
}

function passage(tokens, isReached) {
  const text = element("span", "itda-tokens");
  text.dir = "ltr";
  text.append(...tokens.map((token) => tokenSpan(token, isReached)));
  return text;
}

// A passage behind the letter of the side that it belongs to, where it belongs to one.
function lined(side, tokens, isReached) {
  const text = passage(tokens, isReached);
  if (!side) return text;
  const line = element("span", "itda-line");
  line.append(element("span", `itda-chip itda-side-${side}`, side.toUpperCase()), text);
  return line;
}

function passages(row, isReached) {
  const lines = [lined(row.sides[0], row.tokens, isReached)];
  if (row.below.length) lines.push(lined(row.sides[1], row.below, isReached));
  return lines;
}

// Further places that a row leads to, each with a link of its own.
function linksCell(links) {
  const cell = element("td", "itda-cell itda-further");
  for (const [text, href, side] of links) {
    const link = element("a", side ? `itda-further-link itda-side-${side}` : "itda-further-link", text);
    link.href = href;
    link.onclick = (event) => {
      event.stopPropagation();
      if (!isPlain(event)) return;
      event.preventDefault();
      follow(href);
    };
    cell.append(link);
  }
  return cell;
}

// Shows the lines of each passage that hold its marked tokens, whatever the width, and one line beside a single one.
function showMarks(passages) {
  const places = passages.map((passage) => {
    const height = parseFloat(getComputedStyle(passage).lineHeight);
    const top = passage.getBoundingClientRect().top - passage.scrollTop;
    const boxes = [...passage.querySelectorAll(".itda-centre, .itda-match")].flatMap((mark) => [...mark.getClientRects()]);
    const lines = boxes.map((box) => Math.floor(((box.top + box.bottom) / 2 - top) / height));
    const first = Math.min(...lines);
    const last = Math.max(...lines);
    // The line beside it is the one on the side on which the token has less text in its own line.
    const middle = (box) => (box.left + box.right) / 2;
    const frame = passage.getBoundingClientRect();
    const isEarly = first === last && first > 0 && middle(boxes[0]) < middle(frame);
    return { height, first: isEarly ? first - 1 : first, count: Math.max(2, last - first + 1) };
  });
  passages.forEach((passage, at) => {
    const { height, first, count } = places[at];
    passage.style.maxHeight = `${count * height}px`;
    passage.scrollTop = Number.isFinite(first) ? first * height : 0;
  });
}

// Whether a mouse has just selected text inside this element, which is not meant as a click on it.
function isCopied(line, event) {
  const selection = window.getSelection();
  const isMouse = event.detail > 0;
  return isMouse && Boolean(selection?.toString()) && line.contains(selection.anchorNode) && line.contains(selection.focusNode);
}

function drawRow(row, style, pick) {
  const leads = row.href !== null || row.key !== null;
  const line = element("tr", leads ? "itda-row itda-clickable" : "itda-row");
  const first = element("td", "itda-passage");
  if (row.lead) first.append(element("span", "itda-lead", row.lead));
  if (row.note) first.append(element("span", "itda-note", row.note));
  if (leads) {
    const link = row.href === null ? element("button", "itda-link") : element("a", "itda-link");
    if (row.href === null) link.type = "button";
    else link.href = row.href;
    if (row.current) {
      line.classList.add("itda-current");
      link.setAttribute("aria-current", "true");
    }
    link.append(...passages(row, false));
    if (row.icon) {
      const icon = element("span", "itda-icon", row.icon);
      icon.setAttribute("aria-hidden", "true");
      icon.translate = false;
      link.append(icon);
    }
    first.append(link);
    line.onclick = (event) => {
      if (!isPlain(event)) return;
      event.preventDefault();
      if (isCopied(line, event)) return;
      if (row.href === null) pick(row.key);
      else follow(row.href);
    };
  } else {
    first.append(...passages(row, style === "document"));
  }
  line.append(first, ...row.cells.map((cell) => element("td", "itda-cell", cell)));
  if (row.links.length) line.append(linksCell(row.links));
  return line;
}

export default function ({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".itda-strip");
  if (!root) {
    root = element("div");
    parentElement.append(root);
  }
  const stacks = data.style === "list" && data.columns.length > 2;
  root.className = `itda-strip itda-style-${data.style} ${stacks ? "itda-stacks" : ""}`;
  const table = element("table", "itda-table");
  if (data.columns.length) {
    const head = element("tr");
    head.append(
      ...data.columns.map((name) => {
        const cell = element("th", "", name);
        cell.scope = "col";
        return cell;
      }),
    );
    const header = element("thead");
    header.append(head);
    table.append(header);
  }
  const body = element("tbody");
  body.append(...data.rows.map((row) => drawRow(row, data.style, (key) => setTriggerValue("picked", key))));
  // For narrow pages, where the headings are gone.
  for (const line of body.rows) {
    [...line.cells].slice(1).forEach((cell, at) => (cell.dataset.name = (cell.textContent && data.columns[at + 1]) || ""));
  }
  table.append(body);
  root.replaceChildren(table);
  if (data.style === "list") {
    const lines = [...root.querySelectorAll(".itda-tokens")];
    const show = () => showMarks(lines);
    show();
    document.fonts.ready.then(show);
    root._itdaWidth?.disconnect();
    root._itdaWidth = new ResizeObserver(() => requestAnimationFrame(show)); // not at once: it changes the height
    root._itdaWidth.observe(root);
  }
  // Once for each text, so that the page stays where the reader scrolled to when it is drawn again.
  const at = data.rows.findIndex((row) => row.sought);
  const sought = at < 0 ? "" : body.rows[at].textContent;
  if (sought && sought !== root._itdaSought) body.rows[at].scrollIntoView({ block: "center" });
  root._itdaSought = sought;
  if (data.style === "document") {
    root.querySelector(".itda-centre")?.scrollIntoView({ block: "center" });
  }
  return () => root._itdaWidth?.disconnect();
}
