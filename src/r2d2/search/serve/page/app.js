// The page: what its user does, and what follows.

import { ask, closeFilter, enter, go, isFilterOpen, loadExamples, openFilter } from "./flow.js";
import { takePictures } from "./intake.js";
import { keepPositions, position } from "./navigation.js";
import { keepPicture } from "./pictures.js";
import { Problem } from "./server.js";
import { isByPicture, session } from "./session.js";
import { PAGE, START, readState } from "./state.js";
import { drawResults, nameChip, relabel, tell } from "./view.js";
import { switchLanguage } from "./words.js";

const id = (name) => document.getElementById(name);

// Ways to ask

takePictures((file) => {
  const { health } = session;
  if (file.type && !file.type.startsWith("image/")) return tell(new Problem("not_picture"));
  if (health && file.size > health.max_bytes) return tell(new Problem("too_large"));
  go({ q: "", like: null, picture: keepPicture(file) });
});

let composing = false; // an input method is at work: Enter chooses a character
id("text").addEventListener("compositionstart", () => (composing = true));
id("text").addEventListener("compositionend", () => (composing = false));
id("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (composing || event.isComposing || event.keyCode === 229)) event.preventDefault();
});
id("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = id("text").value;
  if (text.trim() || !isByPicture()) ask(text);
  else go({}, { replace: true, anew: true });
});
document.addEventListener("keydown", (event) => {
  const typing = document.activeElement?.matches("input:not([type=radio], [type=checkbox]), textarea, select");
  if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    id("text").focus();
    id("text").select();
  }
});
id("chip-picture").addEventListener("error", nameChip);
id("chip-away").addEventListener("click", () => {
  ask("");
  id("text").focus();
});

// Choices

for (const name of ["rank", "by", "target"]) {
  id(name).addEventListener("change", (event) => go({ [name]: event.target.value }));
}
id("table").addEventListener("change", (event) => {
  const { q, rank, by, picture, target } = session.state;
  const table = event.target.value === session.health.tables[0] ? START.table : event.target.value;
  go({ ...START, q, rank, by, picture, target, table });
});
id("filter").addEventListener("click", () => (isFilterOpen() ? closeFilter() : openFilter()));
id("more").addEventListener("click", () => go({ shown: session.state.shown + PAGE }, { replace: true }));
id("language").addEventListener("click", () => {
  switchLanguage();
  relabel(go, ask);
  if (isFilterOpen()) openFilter();
  if (session.answer) drawResults(false, go);
});
document.addEventListener("r2d2-key", loadExamples);

window.addEventListener("popstate", () => enter(readState(), { scroll: position() }));
keepPositions();
relabel(go, ask);
enter(session.state, { scroll: position() });
