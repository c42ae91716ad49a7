// Ask the server for results, page by page, until enough of them can be shown.

import { families } from "./families.js";
import { keptPicture } from "./pictures.js";
import { picture, post, thumbnailOf } from "./server.js";
import { PAGE, conditionOf, searchKey } from "./state.js";

const MOST = 100; // results in one answer of the server
const KEPT = 12; // answers, so that the way back needs no server
const kept = new Map();

/**
 * The answer to a state's search: that of the server, with the hits of all its pages, `end` where there are no
 * more, and `file`, the picture that was searched by. Null where the state asks for nothing, or its picture is gone.
 *
 * health: what /health gave, or null; signal: ends it; anew: ask again, although it was asked before.
 */
export async function find(state, health, signal, anew = false) {
  const key = searchKey(state);
  let answer = anew ? undefined : kept.get(key);
  if (!answer) {
    const file = await pictureOf(state, signal);
    if (!file && !state.q) return null;
    answer = { hits: [], notes: [], end: false, file };
  }
  const depth = health?.depth ?? Infinity;
  while (!answer.end && families(answer.hits).length < state.shown) {
    const missing = state.shown - families(answer.hits).length;
    const k = Math.max(1, Math.min(MOST, Math.max(PAGE, missing), depth - answer.hits.length));
    const fields = { ...fieldsOf(state, health), k, offset: answer.hits.length };
    const page = await post("/search", fields, answer.file, signal);
    answer = { ...answer, ...page, hits: [...answer.hits, ...page.hits] };
    answer.end = page.hits.length < k || answer.hits.length >= Math.min(depth, page.searched);
  }
  kept.delete(key);
  kept.set(key, answer);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return answer;
}

async function pictureOf(state, signal) {
  if (state.q) return null;
  if (state.like !== null) return picture(thumbnailOf(state.like), signal);
  return state.picture === null ? null : keptPicture(state.picture);
}

function fieldsOf(state, health) {
  const fields = { two_stage: state.rank === "careful", where: conditionOf(state.where, health?.columns ?? {}) };
  if (!state.q) return { ...fields, target: state.target };
  return { ...fields, text: state.q, ...(health?.words ? { by: state.by } : {}) };
}
