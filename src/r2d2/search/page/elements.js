// Make elements.

import { number } from "./words.js";

export function element(kind, name = "", text = null) {
  const one = document.createElement(kind);
  if (name) one.className = name;
  if (text !== null) one.textContent = typeof text === "number" ? number(text) : text;
  return one;
}
