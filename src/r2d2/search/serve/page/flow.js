// From state to state: searches, tables, and the dialog of a result.

import { closeDetail, openDetail } from "./detail.js";
import { drawPanel } from "./filter.js";
import { clear, wait } from "./grid.js";
import { goBack, move, wayBack } from "./navigation.js";
import { find } from "./results.js";
import { Problem, chooseTable, get } from "./server.js";
import { areTexts, isByPicture, session } from "./session.js";
import { PAGE, START, addressOf, searchKey } from "./state.js";
import { drawExamples, drawQuery, drawResults, relabel, summarise, tell } from "./view.js";
import { say } from "./words.js";

const id = (name) => document.getElementById(name);
const OF_SEARCH = ["table", "q", "like", "picture", "target", "rank", "by", "where"];
let running = null;

/** Why there is no result: the filter lets no picture through, or none of those that it lets through was found. */
function nothingCode(state, answer) {
  if (answer.notes.some((note) => note.code === "filter_matches_nothing")) return "nothing_in_filter";
  return Object.keys(state.where).length ? "nothing_filtered" : "nothing";
}

/**
 * Go to another state, in a new entry of the history or, `replace`, in the place of this one. Another search begins
 * with its first page and without a dialog.
 */
export function go(changes, { replace = false, ...how } = {}) {
  const another = OF_SEARCH.some((name) => name in changes);
  const back = wayBack();
  if (back) {
    if (another) wait();
    return back.then(() => go(changes, { replace, ...how }));
  }
  const next = { ...session.state, ...(another ? { shown: PAGE, open: null } : {}), ...changes };
  move(next, replace);
  return enter(next, { scroll: replace ? null : 0, ...how });
}

/** Search for a text; once more where it is what was searched for. */
export function ask(text) {
  const q = text.trim();
  const again = q !== "" && q === session.state.q;
  go({ q, like: null, picture: null, target: START.target }, { replace: again, scroll: 0, anew: again });
}

/** Show a state. scroll: where to, null: nowhere; anew: search although it is the same search. */
export async function enter(next, { scroll = 0, anew = false } = {}) {
  const before = session.state;
  session.state = next;
  if (next.table !== before.table || !session.health) await changeTable();
  if (session.state !== next) return; // the user was faster
  if (!anew && session.answered === searchKey(next) && next.shown === before.shown) {
    showDetail();
    if (scroll) window.scrollTo({ top: scroll });
    return;
  }
  await search(before, scroll, anew);
}

async function search(before, scroll, anew) {
  running?.abort();
  const mine = (running = new AbortController());
  const { state } = session;
  const key = searchKey(state);
  const more = !anew && session.answered === key && state.shown > before.shown;
  if (state.open === null) closeDetail();
  drawQuery(go);
  if (isFilterOpen()) openFilter();
  if (!state.q && !isByPicture()) return begin();
  tell(null);
  id("welcome").hidden = true;
  id("more").disabled = true;
  if (!more) {
    session.answered = null;
    wait();
  }
  id("summary").textContent = say("loading");
  try {
    const answer = await find(state, session.health, mine.signal, anew);
    if (mine !== running) return;
    if (!answer) return begin(); // its picture is one of an earlier visit
    Object.assign(session, { answer, answered: key });
    const first = drawResults(more, go);
    if (!answer.hits.length) tell(new Problem(nothingCode(state, answer)));
    if (more) first?.querySelector(".hit").focus();
    else if (scroll !== null) window.scrollTo({ top: scroll });
    showDetail();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!more) {
      Object.assign(session, { answer: null, answered: null });
      clear();
    }
    summarise();
    if (error.code === "too_deep") id("more").hidden = true;
    tell(error);
  } finally {
    if (mine === running) running = null;
    id("more").disabled = false;
  }
}

/** Show the page as at the start. */
function begin() {
  Object.assign(session, { answer: null, answered: searchKey(session.state) });
  clear();
  tell(session.unwell);
  summarise();
  id("welcome").hidden = false;
  showDetail();
}

/** Look at another table, or for the first time at this one. */
async function changeTable() {
  chooseTable(session.state.table);
  Object.assign(session, { columns: null, examples: [], health: null, unwell: null });
  closeFilter();
  try {
    session.health = await get("/health", { quiet: true });
  } catch (error) {
    session.unwell = error;
  }
  relabel(go, ask);
  loadExamples();
}

/** Where a key is asked for and not given yet, the page does without. */
export async function loadExamples() {
  const { table } = session.state;
  try {
    const { texts } = await get("/examples", { quiet: true });
    if (table !== session.state.table) return;
    session.examples = texts;
    drawExamples(ask);
  } catch { /* there are none */ }
}

export const isFilterOpen = () => id("filter").getAttribute("aria-expanded") === "true";
export const closeFilter = () => expandFilter(false);

function expandFilter(opens) {
  id("filter").setAttribute("aria-expanded", String(opens));
  id("filter-columns").hidden = !opens;
}

export async function openFilter() {
  expandFilter(true);
  const { table } = session.state;
  try {
    session.columns ??= (await get("/columns")).columns;
    if (table === session.state.table) drawPanel(session.columns, session.state.where, (where) => go({ where }));
  } catch (error) {
    tell(error);
  }
}

/** Open the dialog that the state names, or close it. */
async function showDetail() {
  const { state, answer, health } = session;
  if (state.open === null) return closeDetail();
  const texts = areTexts();
  let hit = answer?.hits.find((one) => one.row === state.open) ?? null;
  const found = hit ? answer : null;
  try {
    if (!hit && !texts) hit = await rowAlone(state.open);
  } catch (error) {
    tell(error);
  }
  if (session.state !== state) return;
  if (!hit) return go({ open: null }, { replace: true });
  const respelt = answer?.notes.find((note) => note.code === "searched_as"); // which the model has read
  const next = texts ? { q: hit.texts[0] } : { like: hit.row };
  const onward = { ...START, table: state.table, rank: state.rank, ...next };
  openDetail(hit, {
    found,
    text: respelt ? respelt.about : state.q,
    file: found?.file ?? null,
    texts,
    limits: health,
    onward: texts || hit.image ? { address: addressOf(onward), follow: () => go(onward) } : null,
    shut: () => session.state.open !== null && goBack(() => go({ open: null }, { replace: true })),
  });
}

/** A picture of the table that no search has found. */
async function rowAlone(row) {
  const { columns, ...hit } = await get(`/rows/${row}`);
  return { ...hit, split: columns.split };
}
