// The results as cards; where they change places, they are seen to move.

import { button, element, onPlainClick } from "./elements.js";
import { families } from "./families.js";
import { show } from "./server.js";
import { say } from "./words.js";

const grid = document.getElementById("grid");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Show the first `shown` results. Cards of the same results stay as they are and others come behind them, if `append`.
 *
 * texts: whether hits are texts; moves: whether it is shown how far they moved; address: gives the link of a hit;
 * open: called with a hit.
 */
export function place(hits, { shown, append, ...how }) {
  const before = new Map([...grid.querySelectorAll("[data-row]")].map((one) => [one.dataset.row, one.getBoundingClientRect()]));
  grid.classList.remove("stale");
  grid.removeAttribute("aria-busy");
  grid.classList.toggle("texts", how.texts);
  const groups = families(hits).slice(0, shown);
  const there = append ? grid.querySelectorAll("[data-row]:not(.member)").length : 0;
  const cards = groups.slice(there).map((group, index) => card(group, there + index + 1, how));
  if (append) grid.append(...cards);
  else grid.replaceChildren(...cards);
  if (!append && !still.matches) for (const one of cards) glide(one, before.get(one.dataset.row));
  return cards[0];
}

/** Grey boxes while the first results come; what is there stays, paler. */
export function wait() {
  grid.classList.add("stale");
  grid.setAttribute("aria-busy", "true");
  if (grid.querySelector("[data-row]")) return;
  grid.replaceChildren(...Array.from({ length: 12 }, () => {
    const ghost = element("li", "ghost");
    ghost.setAttribute("aria-hidden", "true");
    return ghost;
  }));
}

export function clear() {
  grid.classList.remove("stale");
  grid.removeAttribute("aria-busy");
  grid.replaceChildren();
}

function glide(one, from) {
  if (!from) return;
  const to = one.getBoundingClientRect();
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (!x && !y) return;
  one.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.3, .8, .3, 1)" });
}

function card(group, number, how) {
  const [hit, ...others] = group;
  const item = cardOf(hit, how);
  item.firstChild.append(element("span", "place", number));
  if (!others.length) return item;
  const members = others.map((other) => {
    const one = cardOf(other, how);
    one.classList.add("member");
    return one;
  });
  const toggle = button("family", say("family")(group.length), () => {
    const opens = toggle.getAttribute("aria-expanded") === "false";
    toggle.setAttribute("aria-expanded", String(opens));
    item.classList.toggle("opened", opens);
    toggle.textContent = opens ? say("familyLess") : say("family")(group.length);
    if (opens) item.after(...members);
    else for (const one of members) one.remove();
  });
  toggle.setAttribute("aria-expanded", "false");
  item.append(toggle);
  return item;
}

function cardOf(hit, { texts, moves, address, open }) {
  const item = element("li");
  item.dataset.row = hit.row;
  const link = element("a", "hit");
  link.href = address(hit);
  link.append(frame(hit), words(hit));
  const moved = hit.pre_rank - hit.rank;
  if (moves && hit.match !== null && moved) {
    const badge = element("span", `moved ${moved > 0 ? "up" : "down"}`, `${moved > 0 ? "↑" : "↓"}${Math.abs(moved)}`);
    badge.title = say(moved > 0 ? "upBy" : "downBy")(Math.abs(moved));
    badge.setAttribute("role", "img");
    badge.setAttribute("aria-label", badge.title);
    link.append(badge);
  }
  onPlainClick(link, () => open(hit));
  item.classList.toggle("text", texts);
  item.append(link);
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
  image.draggable = false; // a result dragged a little is no picture dropped
  image.addEventListener("load", () => {
    const small = image.naturalWidth <= 96; // a drawing; photographs have a mat around them
    image.classList.toggle("small", small);
    box.classList.toggle("photo", !small && !isOnWhite(image));
  });
  show(image, hit.image, lost);
  box.append(image);
  return box;
}

/** Whether a picture has white corners, so that it looks best on paper of its own colour. */
function isOnWhite(image) {
  const side = 16;
  const canvas = element("canvas");
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // behind what can be seen through
  pen.fillRect(0, 0, side, side);
  pen.drawImage(image, 0, 0, side, side);
  const { data } = pen.getImageData(0, 0, side, side);
  const corners = [0, side - 1, side * (side - 1), side * side - 1];
  return corners.every((pixel) => data.subarray(4 * pixel, 4 * pixel + 3).every((value) => value >= 240));
}

function words(hit) {
  const box = element("span", "words");
  box.append(element("span", "caption", hit.texts[0] || hit.image_id));
  const tags = element("span", "tags");
  if (hit.level) tags.append(level(hit.level));
  if (hit.found_by !== "picture") tags.append(element("span", "reason quiet", say("foundBy")[hit.found_by]));
  if (tags.childNodes.length) box.append(tags);
  return box;
}

/** How sure a result is, in words. */
export const level = (name) => element("span", `level ${name}`, say("levels")[name]);

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
