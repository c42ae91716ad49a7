// What the page says, in the language that was chosen.

import { en } from "./words.en.js";
import { zh } from "./words.zh.js";

const WORDS = { zh, en };

let language = stored() || (/^zh/i.test(navigator.language || "zh") ? "zh" : "en");

function stored() {
  try {
    const found = localStorage.getItem("r2d2.language");
    return found in WORDS ? found : null;
  } catch {
    return null; // storage may be forbidden
  }
}

/** A word, or the function that makes a sentence. */
export const say = (name) => WORDS[language][name];

/** The sentence for an error of the server's, or its own words. `limits`: what /health gave. */
export function sayProblem(code, words, limits) {
  const known = WORDS[language].problems;
  if (/^\d+$/.test(code)) return known.status(code);
  return filled(known[code], limits) || words || code;
}

/** The sentence for a note of the server's, or its own words. */
export const sayNote = (note, limits) => filled(say("notes")[note.code], { ...limits, about: note.about }) || note.note;

const filled = (sentence, limits) => (typeof sentence === "function" ? sentence(limits || {}) : sentence);

export const number = (value) => value.toLocaleString(language === "zh" ? "zh-CN" : "en");

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem("r2d2.language", language);
  } catch { /* then it lasts until the page is closed */ }
}

/** Put the words into the elements that ask for them. */
export function label(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of root.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of root.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of root.querySelectorAll("[data-title]")) one.title = say(one.dataset.title);
  for (const one of root.querySelectorAll("[data-hint]")) one.placeholder = say(one.dataset.hint);
}
