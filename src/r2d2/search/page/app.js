// The page: what is asked, what is shown, and in which state it is.

import { openDetail } from "./detail.js";
import { element } from "./elements.js";
import { clear, place, wait } from "./grid.js";
import { Problem, get, post } from "./server.js";
import { label, number, say, sayProblem, switchLanguage } from "./words.js";

const PAGE = 24;
const MAX_BYTES = 10 << 20;
const id = (name) => document.getElementById(name);

const asked = { text: "", picture: null, shown: null }; // of the last search; shown: its chip's URL
let last = null; // the last answer, all pages joined
let health = null;
let running = null;
let problem = null;

async function search({ more = false } = {}) {
  if (running) running.abort();
  const mine = (running = new AbortController());
  if (!asked.text && !asked.picture) return begin();
  const texts = Boolean(asked.picture) && choice("target") === "texts";
  const fields = { k: PAGE, offset: more ? last.hits.length : 0, two_stage: choice("stage") === "two" };
  if (asked.picture) fields.target = texts ? "texts" : "images";
  else fields.text = asked.text;
  tell(null);
  id("welcome").hidden = true;
  id("more").disabled = true;
  if (!more) wait();
  id("summary").textContent = say("loading");
  try {
    const found = await post("/search", fields, asked.picture, mine.signal);
    if (mine !== running) return;
    const options = { append: more, texts, moves: fields.two_stage, open };
    place(found.hits, options);
    last = more ? { ...found, hits: [...last.hits, ...found.hits] } : found;
    id("more").hidden = found.hits.length < PAGE;
    summarise();
    if (!last.hits.length) tell(new Problem("nothing", say("nothing")));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!more) {
      last = null;
      clear();
      id("more").hidden = true;
    }
    id("summary").textContent = "";
    tell(error);
  } finally {
    id("more").disabled = false;
    if (mine === running) running = null;
  }
}

function open(hit) {
  openDetail(hit, { text: asked.picture ? null : asked.text, found: last, search: usePicture });
}

function summarise() {
  if (!last) return;
  const moved = last.hits.filter((hit) => hit.match !== null && hit.rank !== hit.pre_rank).length;
  id("summary").textContent = last.reranked
    ? say("summaryTwo")(number(last.searched), number(last.reranked), number(moved))
    : say("summaryPre")(number(last.searched));
}

function begin() {
  last = null;
  clear();
  id("more").hidden = true;
  id("summary").textContent = "";
  id("welcome").hidden = false;
}

function tell(error) {
  problem = error;
  id("problem").hidden = !error;
  if (error) id("problem").textContent = error instanceof Problem ? sayProblem(error.code, error.message) : String(error);
}

const choice = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function useText(text) {
  dropPicture();
  asked.text = text.trim();
  id("text").value = text;
  const address = asked.text ? `/?q=${encodeURIComponent(asked.text)}` : "/";
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  search();
}

function usePicture(file) {
  if (file.type && !file.type.startsWith("image/")) return tell(new Problem("not_picture"));
  if (file.size > MAX_BYTES) return tell(new Problem("too_large"));
  dropPicture();
  asked.text = "";
  id("text").value = "";
  asked.picture = file;
  asked.shown = URL.createObjectURL(file);
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
  if (last) search();
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
  id("stage").hidden = !found.cross_encoders;
  relabel();
}).catch(tell);
