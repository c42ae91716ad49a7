// What is searched and shown, as it stands in the address and in the history.

export const PAGE = 24; // results that "more" adds

/**
 * table: its name, empty for the first; q: a text; like: the row of a picture of the table; picture: the
 * number of a picture of the user's, see pictures.js; target: images or texts; rank: careful or quick;
 * by: both, vectors or words; where: { column: { values } or { min, max } }; shown: how many results;
 * open: the row whose dialog is open.
 */
export const START = {
  table: "", q: "", like: null, picture: null, target: "images", rank: "careful", by: "both", where: {}, shown: PAGE, open: null,
};

const WORDS = ["table", "q", "target", "rank", "by"];
const NUMBERS = ["like", "shown", "open"];
const FILTER = { is: "values", min: "min", max: "max" }; // is.split=test, min.width=1000

/** The state of the page's address, and of its entry in the history. */
export function readState() {
  const state = { ...START, where: {}, picture: history.state?.picture ?? null };
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (WORDS.includes(name)) state[name] = value;
    else if (NUMBERS.includes(name)) {
      if (/^\d{1,9}$/.test(value)) state[name] = Number(value);
    } else readFilter(state.where, name, value);
  }
  state.q = state.q.trim();
  state.shown = Math.max(PAGE, state.shown);
  if (!["images", "texts"].includes(state.target)) state.target = START.target;
  if (!["careful", "quick"].includes(state.rank)) state.rank = START.rank;
  if (!["both", "vectors", "words"].includes(state.by)) state.by = START.by;
  if (state.q) state.like = state.picture = null;
  return state;
}

function readFilter(where, name, value) {
  const dot = name.indexOf(".");
  const kind = FILTER[name.slice(0, dot)];
  const column = name.slice(dot + 1);
  if (dot < 0 || !kind || !column) return;
  const filter = (where[column] ??= {});
  if (kind === "values") (filter.values ??= []).push(value);
  else if (value !== "" && Number.isFinite(Number(value))) filter[kind] = Number(value);
}

/** The address of a state; what is as at the start is left out. */
export function addressOf(state) {
  const parameters = new URLSearchParams();
  for (const name of [...WORDS, ...NUMBERS]) {
    if (state[name] !== START[name] && state[name] !== null) parameters.set(name, state[name]);
  }
  for (const [column, filter] of Object.entries(state.where)) {
    for (const value of filter.values ?? []) parameters.append(`is.${column}`, value);
    for (const end of ["min", "max"]) if (filter[end] !== undefined) parameters.set(`${end}.${column}`, filter[end]);
  }
  const text = parameters.toString();
  return text ? `/?${text}` : "/";
}

/** What two states have the same results by. */
export const searchKey = (state) => JSON.stringify([addressOf({ ...state, shown: PAGE, open: null }), state.picture]);

/** What is asked of the server as `where`, given the types of the columns. */
export function conditionOf(where, types) {
  return Object.fromEntries(Object.entries(where).map(([column, filter]) => {
    if (filter.values) return [column, filter.values.map((value) => typed(value, types[column] ?? "string"))];
    return [column, filter];
  }));
}

function typed(value, type) {
  if (type === "bool") return value === "true";
  return /int|float|double/.test(type) ? Number(value) : value;
}
