// Draws the list of pages of nav.py, behind page.js.

function entry({ label, icon, href, is_current, badge, reason }) {
  const item = element("li");
  const link = element(reason ? "span" : "a", "itda-nav-link");
  const sign = element("span", "itda-nav-icon", icon);
  sign.setAttribute("aria-hidden", "true");
  sign.translate = false;
  link.append(sign, element("span", "itda-nav-label", label));
  if (badge) link.append(element("span", "itda-nav-badge", badge));
  if (reason) {
    link.setAttribute("aria-disabled", "true");
    link.append(element("span", "itda-nav-reason", reason));
  } else {
    link.href = href;
    link.onclick = (event) => {
      if (!isPlain(event)) return;
      event.preventDefault();
      follow(href);
    };
  }
  if (is_current) link.setAttribute("aria-current", "page");
  item.append(link);
  return item;
}

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(".itda-nav");
  if (!root) {
    root = element("nav", "itda-nav");
    root.setAttribute("aria-label", "Pages");
    parentElement.append(root);
  }
  const list = element("ul");
  list.append(...data.items.map(entry));
  const label = document.activeElement?.closest?.(".itda-nav") === root && document.activeElement.textContent;
  root.replaceChildren(list);
  // A page that is drawn again leaves the keyboard where it was.
  if (label) [...list.querySelectorAll("a")].find((link) => link.textContent === label)?.focus();
}
