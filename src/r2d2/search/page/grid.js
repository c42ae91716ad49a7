// The results as cards; where they change places, they are seen to move.

import { element } from "./elements.js";
import { show } from "./server.js";
import { say } from "./words.js";

const grid = document.getElementById("grid");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Show hits instead of, or after, those that are there; `open` is called with a hit's card. */
export function place(hits, { append, texts, moves, open }) {
  const before = new Map([...grid.querySelectorAll("[data-row]")].map((one) => [one.dataset.row, one.getBoundingClientRect()]));
  grid.classList.remove("stale");
  grid.classList.toggle("texts", texts);
  const cards = hits.map((hit) => card(hit, moves, open));
  if (append) grid.append(...cards);
  else grid.replaceChildren(...cards);
  if (!append && !still.matches) for (const one of cards) glide(one, before.get(one.dataset.row));
}

/** Grey boxes while the first results come; what is there stays, paler. */
export function wait() {
  grid.classList.add("stale");
  if (grid.querySelector("[data-row]")) return;
  grid.replaceChildren(...Array.from({ length: 12 }, () => {
    const one = document.createElement("li");
    one.className = "ghost";
    return one;
  }));
}

export function clear() {
  grid.classList.remove("stale");
  grid.replaceChildren();
}

function glide(one, from) {
  if (!from) return;
  const to = one.getBoundingClientRect();
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (!x && !y) return;
  one.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.3, .8, .3, 1)" });
}

function card(hit, moves, open) {
  const item = document.createElement("li");
  item.dataset.row = hit.row;
  const button = element("button", "hit");
  button.type = "button";
  button.append(frame(hit), words(hit), element("span", "place", hit.rank));
  const moved = hit.pre_rank - hit.rank;
  if (moves && hit.match !== null && moved) {
    const badge = element("span", `moved ${moved > 0 ? "up" : "down"}`, `${moved > 0 ? "↑" : "↓"}${Math.abs(moved)}`);
    badge.title = say("was")(hit.pre_rank);
    badge.setAttribute("aria-label", say(moved > 0 ? "upBy" : "downBy")(Math.abs(moved)));
    button.append(badge);
  }
  button.addEventListener("click", () => open(hit));
  item.append(button);
  return item;
}

export function frame(hit) {
  const box = element("span", "frame");
  const lost = () => {
    box.classList.add("lost");
    box.textContent = say("noPicture");
  };
  if (!hit.image) {
    lost();
    return box;
  }
  const image = element("img");
  image.alt = "";
  image.decoding = "async";
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 96));
  show(image, hit.image, lost);
  box.append(image);
  return box;
}

function words(hit) {
  const box = element("span", "words");
  const scores = element("span", "scores");
  if (hit.cosine !== null) scores.append(...score("cosine", hit.cosine));
  if (hit.match !== null) scores.append(...score("match", hit.match));
  box.append(element("span", "caption", hit.texts[0] || hit.image_id));
  if (hit.found_by !== "picture") box.append(element("span", "reason quiet", say("foundBy")[hit.found_by]));
  box.append(scores);
  return box;
}

function score(name, value) {
  const bar = element("span", `bar ${name}`);
  const fill = element("i");
  fill.style.width = `${Math.round(100 * Math.max(0, Math.min(1, value)))}%`;
  bar.append(fill);
  return [element("span", "", say(name)), bar, element("span", "", value.toFixed(3))];
}

// Arrows go from card to card.
grid.addEventListener("keydown", (event) => {
  const cards = [...grid.querySelectorAll(".hit")];
  const here = cards.indexOf(document.activeElement);
  if (here < 0) return;
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const next = step === undefined ? undefined : cards[here + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
});
