// The page: what is asked, what is shown, and in which state it is.

import { openDetail } from "./detail.js";
import { element } from "./elements.js";
import { clear, place, wait } from "./grid.js";
import { Problem, get, post } from "./server.js";
import { label, number, say, sayNote, sayProblem, switchLanguage } from "./words.js";

const PAGE = 24;
const id = (name) => document.getElementById(name);

const asked = { text: "", picture: null, shown: null }; // of the last search; shown: its chip's URL
let last = null; // the last answer, all pages joined, and how it is shown
const kept = []; // pictures searched by, for the way back
let health = null;
let running = null;
let problem = null;

async function search({ more = false } = {}) {
  if (running) running.abort();
  const mine = (running = new AbortController());
  if (!asked.text && !asked.picture) return begin();
  const texts = Boolean(asked.picture) && choice("target") === "texts";
  const offset = more ? last.hits.length : 0;
  const k = Math.max(1, Math.min(PAGE, depth() - offset));
  const fields = { k, offset, two_stage: choice("stage") === "two" };
  if (asked.picture) fields.target = texts ? "texts" : "images";
  else fields.text = asked.text;
  if (!asked.picture && health?.words) fields.by = choice("by");
  tell(null);
  stages();
  id("welcome").hidden = true;
  id("more").disabled = true;
  if (!more) wait();
  id("summary").textContent = say("loading");
  try {
    const found = await post("/search", fields, asked.picture, mine.signal);
    if (mine !== running) return;
    const shown = { texts, moves: fields.two_stage, open };
    place(found.hits, { append: more, ...shown });
    last = { ...found, hits: more ? [...last.hits, ...found.hits] : found.hits, shown };
    id("more").hidden = found.hits.length < k || last.hits.length >= Math.min(depth(), found.searched);
    summarise();
    if (!last.hits.length) tell(new Problem("nothing"));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!more) {
      last = null;
      clear();
    }
    if (!more || error.code === "too_deep") id("more").hidden = true;
    summarise();
    tell(error);
  } finally {
    id("more").disabled = false;
    if (mine === running) running = null;
  }
}

function open(hit) {
  const { picture } = asked;
  const respelt = last.notes.find((note) => note.code === "searched_as"); // which the model has read
  const text = respelt ? respelt.about : asked.text;
  openDetail(hit, { text, picture, texts: last.shown.texts, found: last, limits: health, byPicture: usePicture, byText: useText });
}

const depth = () => health?.depth || Infinity;

/** Which choices there are: images are compared with images in one stage, and pictures have no words. */
function stages() {
  const words = Boolean(health?.words) && !asked.picture;
  id("by").hidden = !words;
  id("stage").hidden = !health?.second_stage || (words && choice("by") === "words") || (Boolean(asked.picture) && choice("target") === "images");
}

function summarise() {
  id("notes").hidden = !last?.notes.length;
  id("end").hidden = !last || last.hits.length < depth();
  if (!last) {
    id("summary").textContent = "";
    return;
  }
  id("notes").textContent = last.notes.map((note) => sayNote(note, health)).join(" ");
  id("end").textContent = say("end")(number(last.hits.length));
  const moved = last.hits.filter((hit) => hit.match !== null && hit.rank !== hit.pre_rank).length;
  id("summary").textContent = last.reranked
    ? say("summaryTwo")(number(last.searched), number(last.reranked), number(moved))
    : say({ vectors: "summaryPre", words: "summaryWords", both: "summaryBoth" }[last.by])(number(last.searched));
}

function begin() {
  last = null;
  clear();
  id("more").hidden = true;
  tell(null);
  summarise();
  stages();
  id("welcome").hidden = false;
}

function tell(error) {
  problem = error;
  id("problem").hidden = !error;
  if (error) id("problem").textContent = error instanceof Problem ? sayProblem(error.code, error.message, health) : String(error);
}

const choice = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function useText(text) {
  dropPicture();
  asked.text = text.trim();
  id("text").value = text;
  const address = asked.text ? `/?q=${encodeURIComponent(asked.text)}` : "/";
  if (history.state || address !== location.pathname + location.search) history.pushState(null, "", address);
  search();
}

function usePicture(file) {
  if (file.type && !file.type.startsWith("image/")) return tell(new Problem("not_picture"));
  if (health && file.size > health.max_bytes) return tell(new Problem("too_large"));
  history.pushState({ picture: kept.push(file) - 1 }, "", "/");
  showPicture(file);
}

function showPicture(file) {
  dropPicture();
  asked.text = "";
  id("text").value = "";
  asked.picture = file;
  asked.shown = URL.createObjectURL(file);
  id("chip-picture").hidden = false;
  id("chip-name").hidden = true;
  id("chip-picture").src = asked.shown;
  id("chip-picture").alt = say("query");
  id("chip").hidden = false;
  id("target").hidden = false;
  window.scrollTo({ top: 0 });
  search();
}

function dropPicture() {
  if (asked.shown) URL.revokeObjectURL(asked.shown);
  asked.picture = asked.shown = null;
  id("chip").hidden = true;
  id("target").hidden = true;
}

// Words, in the language chosen

function relabel() {
  label();
  id("language").textContent = say("other");
  if (health) {
    const name = health.gallery === "the emoji corpus" ? say("emoji") : health.gallery;
    id("about").textContent = say("about")(name, number(health.images));
    id("model-note").hidden = !health.notes.length;
    id("model-note").textContent = health.notes.map((note) => sayNote(note, health)).join(" ");
  }
  id("examples").replaceChildren(...say("examples").map((text) => {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => useText(text));
    return button;
  }));
  summarise();
  tell(problem);
}

id("language").addEventListener("click", () => {
  switchLanguage();
  relabel();
  if (last) place(last.hits, { append: false, ...last.shown });
});

// Ways to ask

let composing = false; // an input method is at work: Enter chooses a character
id("text").addEventListener("compositionstart", () => (composing = true));
id("text").addEventListener("compositionend", () => (composing = false));
id("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (composing || event.isComposing || event.keyCode === 229)) event.preventDefault();
});
id("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = id("text").value;
  if (text.trim() || !asked.picture) useText(text);
  else search();
});
for (const one of document.querySelectorAll("#options input")) one.addEventListener("change", () => search());
id("more").addEventListener("click", () => search({ more: true }));
id("pick").addEventListener("click", () => id("file").click());
id("file").addEventListener("change", () => {
  if (id("file").files[0]) usePicture(id("file").files[0]);
  id("file").value = "";
});
id("chip-picture").addEventListener("error", () => { // a format that the server reads and this browser does not
  id("chip-picture").hidden = true;
  id("chip-name").hidden = false;
  id("chip-name").textContent = asked.picture?.name || say("query");
});
id("chip-away").addEventListener("click", () => {
  useText("");
  id("text").focus();
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files || [])][0];
  if (!file) return;
  event.preventDefault();
  usePicture(file);
});
let inside = 0; // dragenter and dragleave come for every element passed
const files = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
document.addEventListener("dragenter", (event) => {
  if (files(event)) id("drop").hidden = ++inside === 0;
});
document.addEventListener("dragleave", (event) => {
  if (files(event)) id("drop").hidden = (inside = Math.max(0, inside - 1)) === 0;
});
document.addEventListener("dragover", (event) => files(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  inside = 0;
  id("drop").hidden = true;
  if (!files(event)) return;
  event.preventDefault();
  if (event.dataTransfer.files[0]) usePicture(event.dataTransfer.files[0]);
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName) && document.activeElement.type !== "radio";
  if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    id("text").focus();
    id("text").select();
  }
});
function fromAddress() {
  const text = new URLSearchParams(location.search).get("q") || "";
  const back = kept[history.state?.picture];
  if (back) return showPicture(back);
  dropPicture();
  asked.text = text.trim();
  id("text").value = text;
  search();
}
window.addEventListener("popstate", fromAddress);

relabel();
fromAddress();
get("/health").then((found) => {
  health = found;
  stages();
  relabel();
}).catch(tell);
