// The dialog of one result: its picture, its scores, its explanation.

import { element } from "./elements.js";
import { explain } from "./explain.js";
import { frame } from "./grid.js";
import { picture, whole } from "./server.js";
import { say } from "./words.js";

const id = (name) => document.getElementById(name);
const dialog = id("detail");
const LONGEST = 1024; // pixels of the user's picture, as drawn
let leaving = new AbortController();
let onward = null;

/**
 * Open it. `found`: the answer that the hit is of, to a text or to a picture, of images or of `texts`;
 * `limits`: what /health gave; `byPicture`, `byText`: search on.
 *
 * A word and a picture are explained together: those of the query where it has both with the hit, else the
 * hit's own.
 */
export function openDetail(hit, { text, picture: asked, texts, found, limits, byPicture, byText }) {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  id("lost").hidden = true;
  id("detail-title").textContent = hit.texts[0] || hit.image_id;
  const box = id("detail-picture");
  box.classList.toggle("lost", !texts && !hit.image);
  if (texts) drawn(asked, box, signal);
  else {
    box.replaceChildren(...frame(hit).childNodes);
    enlarge(box.querySelector("img"), hit.whole, signal);
  }
  lay(texts ? hit.image && frame(hit) : asked && drawn(asked, element("span", "frame"), signal), say(texts ? "itsPicture" : "query"));
  id("detail-scores").replaceChildren(...rows(hit, found));
  const button = id("similar");
  button.hidden = !texts && !hit.image;
  button.textContent = say(texts ? "byText" : "similar");
  onward = async () => {
    dialog.close();
    if (texts) byText(hit.texts[0]);
    else byPicture(await picture(hit.image));
  };
  dialog.showModal();
  dialog.scrollTop = 0;
  const what = texts ? { text: hit.texts[0], picture: asked } : { text: asked ? hit.texts[0] : text, row: hit.row, own: Boolean(asked) };
  explain({ body: id("explanation-body"), frame: box, ...what, limits, signal });
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
  }).catch(() => {
    if (signal.aborted) return;
    box.classList.add("lost");
    canvas.replaceWith(element("span", "name", file.name || say("noPicture")));
  });
  return box;
}

function rows(hit, found) {
  const list = [[say("rank"), hit.rank === hit.pre_rank ? String(hit.rank) : `${hit.rank} (${say("was")(hit.pre_rank)})`]];
  list.push([say("reason"), say("foundBy")[hit.found_by]]);
  if (hit.words !== null) list.push([say("wordScore"), hit.words.toFixed(2)]);
  if (hit.cosine !== null) list.push([say("cosine"), hit.cosine.toFixed(4)]);
  if (hit.match !== null) {
    list.push([say("match"), hit.match.toFixed(4)]);
    list.push([say("score"), `${hit.score.toFixed(4)} = ${say("formula")(found.weight)}`]);
  }
  list.push([say("id"), hit.image_id]);
  if (hit.split) list.push([say("split"), hit.split]);
  if (hit.texts.length > 1) list.push([say("others"), hit.texts.slice(1).join("；")]);
  return list.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);
}

id("similar").addEventListener("click", () => onward && onward());
dialog.addEventListener("close", () => leaving.abort());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});
