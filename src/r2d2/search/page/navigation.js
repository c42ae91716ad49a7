// The history: entries for states, with the place on the page that the user was at.

import { addressOf } from "./state.js";

const PAUSE = 150; // milliseconds: browsers refuse entries that change too often
let timer = null;

/** Write a state into the address: as a new entry, or in the place of this one. */
export function move(state, replace) {
  const entry = { picture: state.picture, y: replace ? window.scrollY : 0 };
  if (replace) {
    history.replaceState({ ...entry, above: history.state?.above ?? false }, "", addressOf(state));
    return;
  }
  savePosition();
  // above: the entry before is the same search without the dialog, so that going back closes it
  history.pushState({ ...entry, above: state.open !== null }, "", addressOf(state));
}

/** Close what was opened by an entry of its own: back to the one before; `otherwise` where there is none. */
export function goBack(otherwise) {
  if (history.state?.above) history.back();
  else otherwise();
}

/** How far down the page this entry was left. */
export const position = () => history.state?.y ?? 0;

/** Keep the position of this entry, for the way back and for a reload. */
export function keepScroll() {
  history.scrollRestoration = "manual"; // there is nothing to scroll to before the results are there
  document.addEventListener("scroll", () => {
    clearTimeout(timer);
    timer = setTimeout(savePosition, PAUSE);
  }, { passive: true });
  window.addEventListener("pagehide", savePosition);
}

function savePosition() {
  clearTimeout(timer);
  history.replaceState({ ...history.state, y: window.scrollY }, "");
}
