// Draws the bar of pair_bar.py, behind page.js. Text enters the page through textContent only.

function partLink(part, className) {
  const link = element("a", `${className} itda-part-${part.part}`);
  link.href = part.href;
  link.onclick = (event) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    follow(part.href);
  };
  return link;
}

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(".itda-bar");
  if (!root) {
    root = element("div", "itda-bar");
    parentElement.append(root);
  }
  const bar = element("div", "itda-bar-whole");
  const words = element("div", "itda-bar-words");
  for (const part of data.parts) {
    if (part.share > 0) {
      const piece = partLink(part, part.current ? "itda-bar-part itda-current" : "itda-bar-part");
      piece.style.flexGrow = part.share;
      piece.title = part.name;
      piece.tabIndex = -1; // the words below lead to the same
      piece.setAttribute("aria-hidden", "true");
      bar.append(piece);
    }
    const word = partLink(part, part.current ? "itda-bar-word itda-current" : "itda-bar-word");
    if (part.current) word.setAttribute("aria-current", "true");
    word.append(element("span", "itda-bar-count", part.count), element("span", "itda-bar-name", part.name));
    if (part.note) word.append(element("span", "itda-bar-note", part.note));
    words.append(word);
  }
  root.replaceChildren(bar, words);
}
