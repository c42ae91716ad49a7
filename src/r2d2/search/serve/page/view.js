// What is shown of the session: the field and the choices, the results, notes and problems.

import { button, element } from "./elements.js";
import { families } from "./families.js";
import { drawChosen } from "./filter.js";
import { place } from "./grid.js";
import { keptPicture } from "./pictures.js";
import { Problem, show, thumbnailOf } from "./server.js";
import { areTexts, isByPicture, session } from "./session.js";
import { START, addressOf } from "./state.js";
import { label, number, say, sayNote, sayProblem } from "./words.js";

const id = (name) => document.getElementById(name);
const SAID_ELSEWHERE = ["nothing_fits", "filter_matches_nothing"]; // notes of the server's that have a place of their own
let chip = null; // what the chip shows

/** The field, the choices and the heading. `go`: called with changes of the state. */
export function drawQuery(go) {
  const { state, health } = session;
  const byPicture = isByPicture();
  const words = Boolean(health?.words) && !byPicture;
  id("text").value = state.q;
  for (const name of ["rank", "by", "target"]) document.querySelector(`input[name=${name}][value=${state[name]}]`).checked = true;
  id("target").hidden = !byPicture;
  id("by").hidden = !words;
  // images are compared with images in one stage only
  id("rank").hidden = !health?.second_stage || (words && state.by === "words") || (byPicture && state.target === "images");
  id("table-choice").hidden = !(health?.tables.length > 1);
  drawChip();
  drawChosen(state.where, (where) => go({ where }));
  const query = state.q || (byPicture ? say("byPicture") : "");
  id("heading").classList.toggle("hidden", Boolean(query));
  id("heading").textContent = query ? say("resultsFor")(query) : say("welcome");
  document.title = query ? `${query} · r2d2` : "r2d2";
}

function drawChip() {
  const { state } = session;
  const wanted = isByPicture() ? `${state.table} ${state.like} ${state.picture}` : null;
  id("chip").hidden = wanted === null;
  if (wanted === chip) return;
  chip = wanted;
  const image = id("chip-picture");
  URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  if (wanted === null) return;
  image.hidden = false;
  id("chip-name").hidden = true;
  image.alt = say("query");
  if (state.like !== null) show(image, thumbnailOf(state.like), nameChip);
  else keptPicture(state.picture).then((file) => file && chip === wanted && (image.src = URL.createObjectURL(file)));
}

/** The name of a picture that the server reads and this browser does not, in its place. */
export async function nameChip() {
  const { picture } = session.state;
  const file = picture === null ? null : await keptPicture(picture);
  id("chip-picture").hidden = true;
  id("chip-name").hidden = false;
  id("chip-name").textContent = file?.name || say("query");
}

/** The cards; `append`: others stay before them. Gives the first new one. */
export function drawResults(append, go) {
  const { state, answer } = session;
  const texts = areTexts();
  const first = place(answer.hits, {
    shown: state.shown,
    append,
    texts,
    moves: state.rank === "careful",
    open: (hit) => go({ open: hit.row }),
    address: (hit) => addressOf(texts ? { ...START, table: state.table, q: hit.texts[0] } : { ...state, picture: null, open: hit.row }),
  });
  id("grid").classList.toggle("unsure", answer.level === "unlikely");
  summarise();
  return first;
}

/** What there is to say of the results, and whether there are more. */
export function summarise() {
  const { state, answer, health } = session;
  const notes = (answer?.notes ?? []).filter((note) => !SAID_ELSEWHERE.includes(note.code));
  id("notes").hidden = !notes.length;
  id("notes").textContent = notes.map((note) => sayNote(note, health)).join(" ");
  const some = Boolean(answer?.hits.length);
  id("unsure").hidden = !some || answer.level !== "unlikely";
  id("unsure").textContent = id("unsure").hidden ? "" : say("nothingFits");
  const how = answer?.reranked ? "careful" : answer?.by;
  const filtered = Object.keys(state.where).length ? say("filtered") : "";
  id("summary").textContent = some ? say("summary")[how](number(answer.searched), number(answer.reranked), areTexts()) + filtered : "";
  id("more").hidden = !answer || (answer.end && families(answer.hits).length <= state.shown);
  id("end").hidden = !answer || !id("more").hidden || answer.hits.length < (health?.depth ?? Infinity);
  if (!id("end").hidden) id("end").textContent = say("end")(number(answer.hits.length));
}

/** Say what is wrong, or, with null, that nothing is. */
export function tell(error) {
  session.problem = error;
  id("problem").hidden = !error;
  id("problem").classList.toggle("mild", /^nothing/.test(error?.code ?? "")); // no mistake of anyone's
  if (error) id("problem").textContent = error instanceof Problem ? sayProblem(error.code, error.message, session.health) : String(error);
}

/** Everything but the cards, in the language chosen. */
export function relabel(go, ask) {
  const { health } = session;
  label();
  id("language").textContent = say("other");
  if (health) {
    const name = health.gallery === "the emoji corpus" ? say("emoji") : health.gallery;
    id("about").textContent = say("about")(name, number(health.images));
    id("model-note").textContent = health.notes.map((note) => sayNote(note, health)).join(" ");
    id("table").replaceChildren(...health.tables.map((table) => {
      const option = element("option", "", table === "emoji" ? say("emoji") : table);
      option.value = table;
      option.selected = table === health.table;
      return option;
    }));
  }
  id("model-note").hidden = !health?.notes.length;
  drawExamples(ask);
  drawQuery(go);
  summarise();
  tell(session.problem);
}

/** Queries to begin with; `ask`: called with one. */
export function drawExamples(ask) {
  id("examples").replaceChildren(...session.examples.map((text) => button("", text, () => ask(text))));
}
