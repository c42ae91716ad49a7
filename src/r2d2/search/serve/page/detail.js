// The dialog of one result: its picture, what can be done with it, its explanation, its numbers.

import { canOpen, copiesPictures, copyPicture, copyText, setDownload } from "./actions.js";
import { element, onPlainClick } from "./elements.js";
import { explain } from "./explain.js";
import { frame, level } from "./grid.js";
import { get, picture, whole } from "./server.js";
import { number, say } from "./words.js";

const id = (name) => document.getElementById(name);
const dialog = id("detail");
const LONGEST = 1024; // pixels of the user's picture, as drawn
let leaving = new AbortController();
let closed = null; // told when the user closes it
let follow = null; // the search from here on

/**
 * Open it.
 *
 * A word and a picture are explained together: those of the query where it has both with the hit, else the
 * hit's own.
 *
 * found: the answer that the hit is of, or null; text, file: of the query; texts: whether hits are texts;
 * limits: what /health gave; onward: address and call of the search from here on; shut: told of its being closed.
 */
export function openDetail(hit, { found, text, file, texts, limits, onward, shut }) {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  closed = shut;
  id("lost").hidden = true;
  id("done").textContent = "";
  id("detail-title").textContent = hit.texts[0] || hit.image_id;
  const box = id("detail-picture");
  box.classList.toggle("lost", !texts && !hit.image);
  if (texts) drawn(file, box, signal);
  else {
    box.replaceChildren(...frame(hit).childNodes);
    box.querySelector("img")?.addEventListener("load", (event) => fit(box, event.target.naturalWidth, event.target.naturalHeight));
    enlarge(box.querySelector("img"), hit.whole, signal);
  }
  box.style.removeProperty("--ratio");
  lay(texts ? hit.image && frame(hit) : file && drawn(file, element("span", "frame"), signal), say(texts ? "itsPicture" : "query"));
  id("detail-tags").replaceChildren(...tags(hit));
  offer(hit, texts, onward);
  id("detail-scores").replaceChildren(...rows(hit, found));
  const row = texts ? null : hit.row;
  if (row !== null) addColumns(row, hit, signal);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  const own = Boolean(file) || !text;
  const what = texts ? { text: hit.texts[0], picture: file } : { text: own ? hit.texts[0] : text, row: hit.row, own };
  explain({ body: id("explanation-body"), frame: box, ...what, limits, signal });
}

/** Let the box be no higher than the window; the maps lie over all of it. */
const fit = (box, width, height) => width && box.style.setProperty("--ratio", width / height);

/** Close it, without telling. */
export function closeDetail() {
  closed = null;
  dialog.close();
}

/** Put the whole picture in the place of its thumbnail, and say where its file is gone. */
async function enlarge(image, address, signal) {
  if (!image || !address) return;
  try {
    const { blob, lost } = await whole(address, signal);
    const url = URL.createObjectURL(blob);
    signal.addEventListener("abort", () => URL.revokeObjectURL(url), { once: true });
    id("lost").hidden = !lost;
    image.src = url;
  } catch { /* the thumbnail stays, or the dialog is closed */ }
}

/** The other picture, small, below the large one. */
function lay(shown, words) {
  id("beside").hidden = !shown;
  if (shown) id("beside").replaceChildren(shown, element("figcaption", "quiet", words));
}

/** Put the first frame of a picture of the user's into a box; its name where the browser cannot show it. */
function drawn(file, box, signal) {
  const canvas = element("canvas", "still");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", say("query"));
  box.replaceChildren(canvas);
  createImageBitmap(file).then((bitmap) => {
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    if (box.id === "detail-picture") fit(box, canvas.width, canvas.height);
  }).catch(() => {
    if (signal.aborted) return;
    box.classList.add("lost");
    canvas.replaceWith(element("span", "name", file.name || say("noPicture")));
  });
  return box;
}

function tags(hit) {
  const found = hit.level ? [level(hit.level)] : [];
  if (hit.found_by) found.push(element("span", "quiet", say("foundBy")[hit.found_by]));
  return found;
}

/** What can be done with the result. */
function offer(hit, texts, onward) {
  const similar = id("similar");
  similar.hidden = !onward;
  similar.textContent = say(texts ? "byText" : "similar");
  if (onward) similar.href = onward.address;
  follow = onward?.follow;
  for (const name of ["download", "copy-picture", "whole"]) id(name).hidden = !hit.whole;
  id("copy-path").hidden = true;
  if (!hit.whole) return;
  setDownload(id("download"), hit.whole, hit.image_id, () => tell("noPicture"));
  id("copy-picture").hidden = !copiesPictures();
  id("copy-picture").onclick = async () => tell(await copyPicture(() => picture(hit.whole)) ? "copiedPicture" : "notCopied");
  id("whole").hidden = !canOpen();
  id("whole").href = hit.whole;
  copies(hit.image_id, "copyId");
}

function copies(text, label) {
  const button = id("copy-path");
  button.hidden = false;
  button.textContent = say(label);
  button.title = text;
  button.onclick = async () => tell(await copyText(text) ? "copied" : "notCopied", text);
}

function tell(name, text = "") {
  const words = say(name);
  id("done").textContent = typeof words === "function" ? words(text) : words;
}

/** What stands in the table besides, and the path of the file where the server tells it. */
async function addColumns(row, hit, signal) {
  try {
    const { path, columns } = await get(`/rows/${row}`, { signal, quiet: true });
    if (path) copies(path, "copyPath");
    const names = say("columns");
    const list = Object.entries(columns)
      .filter(([name, value]) => value !== null && !["image_id", "split"].includes(name))
      .map(([name, value]) => [names[name] ?? name, shownValue(name, value)]);
    id("detail-scores").append(...terms(path ? [[say("path"), path], ...list] : list));
  } catch { /* then they are not shown */ }
}

/** A value of a column, as a person reads it. */
export function shownValue(name, value) {
  if (name === "modified") return new Date(value / 1e6).toLocaleString(document.documentElement.lang);
  if (name === "bytes") return `${number(Math.max(1, Math.round(value / 1024)))} KB`;
  if (name === "split") return say("splits")[value] ?? value;
  return typeof value === "number" ? number(value) : String(value);
}

function rows(hit, found) {
  const list = [];
  if (found && hit.rank !== undefined) {
    list.push([say("position"), hit.rank === hit.pre_rank ? String(hit.rank) : `${hit.rank} (${say("was")(hit.pre_rank)})`]);
  }
  if (hit.chance !== undefined && hit.chance !== null) list.push([say("chance"), shareOf(hit.chance)]);
  if (hit.words !== undefined && hit.words !== null) list.push([say("wordScore"), hit.words.toFixed(2)]);
  if (hit.cosine !== undefined && hit.cosine !== null) list.push([say("cosine"), hit.cosine.toFixed(4)]);
  if (hit.match !== undefined && hit.match !== null) {
    list.push([say("match"), hit.match.toFixed(4)]);
    list.push([say("score"), `${hit.score.toFixed(4)} = ${say("formula")(found.weight)}`]);
  }
  list.push([say("id"), hit.image_id]);
  if (hit.split) list.push([say("columns").split, shownValue("split", hit.split)]);
  if (hit.texts.length > 1) list.push([say("others"), hit.texts.slice(1).join("；")]);
  return terms(list);
}

const shareOf = (value) => (value < 1e-4 ? "< 0.01%" : `${Number((100 * value).toPrecision(2))}%`);
const terms = (list) => list.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);

onPlainClick(id("similar"), () => follow?.());
dialog.addEventListener("close", () => {
  leaving.abort();
  closed?.();
  closed = null;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});
