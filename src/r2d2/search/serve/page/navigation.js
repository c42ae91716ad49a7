// The history: entries for states, and how far down the page each of them was left.

import { addressOf } from "./state.js";

const KEPT = "r2d2.positions"; // in the tab's storage, for a reload
const MOST = 200; // entries whose position is kept
const positions = new Map(stored());
const LONGEST = 1000; // milliseconds that the way back takes
let count = 0;
let leaving = null;

/** Write a state into the address: as a new entry, or in the place of this one. */
export function move(state, replace) {
  const { picture } = state;
  if (replace) {
    history.replaceState({ ...history.state, picture }, "", addressOf(state));
    return;
  }
  notePosition();
  // above: the entry before is the same search without the dialog, so that going back closes it
  history.pushState({ picture, entry: newEntry(), above: state.open !== null }, "", addressOf(state));
}

/** Close what was opened by an entry of its own: back to the one before; `otherwise` where there is none. */
export function goBack(otherwise) {
  if (!history.state?.above) return otherwise();
  leaving = new Promise((left) => {
    window.addEventListener("popstate", left, { once: true });
    setTimeout(left, LONGEST); // in case the browser refuses
  }).then(() => (leaving = null));
  history.back();
}

/** The way back that is under way, to wait for; null: none is. An entry added meanwhile would be left in its place. */
export const wayBack = () => leaving;

/** How far down the page this entry was left. */
export const position = () => positions.get(history.state?.entry) ?? 0;

/**
 * Note how far down the page the user is, all the time. Not in the history's own state: to write there while the user
 * goes back would keep the browser where it is.
 */
export function keepPositions() {
  history.scrollRestoration = "manual"; // there is nothing to scroll to before the results are there
  if (!history.state?.entry) history.replaceState({ ...history.state, entry: newEntry() }, "");
  document.addEventListener("scroll", notePosition, { passive: true });
  window.addEventListener("pagehide", () => {
    notePosition();
    try {
      sessionStorage.setItem(KEPT, JSON.stringify([...positions].slice(-MOST)));
    } catch { /* storage may be forbidden */ }
  });
}

function notePosition() {
  const { entry } = history.state ?? {};
  positions.delete(entry); // the last that was noted stands last
  positions.set(entry, window.scrollY);
}

const newEntry = () => `${performance.timeOrigin}-${count++}`;

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
  } catch {
    return [];
  }
}
