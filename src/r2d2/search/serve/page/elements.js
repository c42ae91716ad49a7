// Make elements.

import { number } from "./words.js";

export function element(kind, name = "", text = null) {
  const one = document.createElement(kind);
  if (name) one.className = name;
  if (text !== null) one.textContent = typeof text === "number" ? number(text) : text;
  return one;
}

export function button(name, text, clicked) {
  const one = element("button", name, text);
  one.type = "button";
  one.addEventListener("click", clicked);
  return one;
}

/** Call `followed` for a click that is to stay in this tab: with Ctrl and the like the browser opens another. */
export function onPlainClick(link, followed) {
  link.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    followed();
  });
}
