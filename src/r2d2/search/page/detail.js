// The dialog of one result: its picture, its scores, its explanation.

import { element } from "./elements.js";
import { explain } from "./explain.js";
import { frame } from "./grid.js";
import { picture } from "./server.js";
import { say } from "./words.js";

const dialog = document.getElementById("detail");
let leaving = new AbortController();
let similar = null;

/** Open it. `found` is the answer that the hit is of; `search` searches by a picture. */
export function openDetail(hit, { text, found, search }) {
  leaving.abort();
  leaving = new AbortController();
  document.getElementById("detail-title").textContent = hit.texts[0] || hit.image_id;
  const box = document.getElementById("detail-picture");
  box.replaceChildren(...frame(hit).childNodes);
  document.getElementById("detail-scores").replaceChildren(...rows(hit, found));
  const button = document.getElementById("similar");
  button.hidden = !hit.image;
  similar = async () => {
    dialog.close();
    search(await picture(hit.image));
  };
  const body = document.getElementById("explanation-body");
  dialog.showModal();
  dialog.scrollTop = 0;
  explain({ body, frame: box, hit, text, signal: leaving.signal });
}

function rows(hit, found) {
  const list = [[say("rank"), hit.rank === hit.pre_rank ? String(hit.rank) : `${hit.rank} (${say("was")(hit.pre_rank)})`]];
  list.push([say("cosine"), hit.cosine.toFixed(4)]);
  if (hit.match !== null) {
    list.push([say("match"), hit.match.toFixed(4)]);
    list.push([say("score"), `${hit.score.toFixed(4)} = ${say("formula")(found.weight)}`]);
  }
  list.push([say("id"), hit.image_id]);
  if (hit.split) list.push([say("split"), hit.split]);
  if (hit.texts.length > 1) list.push([say("others"), hit.texts.slice(1).join("；")]);
  return list.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);
}

document.getElementById("similar").addEventListener("click", () => similar && similar());
dialog.addEventListener("close", () => leaving.abort());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});
