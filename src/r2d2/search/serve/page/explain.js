// The explanation of a result, in the dialog: words to click, what they look at laid over the picture.

import { element } from "./elements.js";
import { post } from "./server.js";
import { say, sayNote, sayProblem } from "./words.js";

const HEAT = [[81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]; // as the panel's
const COVER = 0.7; // of the colour over the picture, where a part is above the noise
const NO_NOUN = "no_noun";

/**
 * Explain one result.
 * body: the element to fill; frame: the element that holds the <img>, for what is laid over it;
 * text: what is explained, if anything; row or picture: in which picture of the gallery's, or of the
 * user's; own: whether the text is the picture's; limits: what /health gave; signal: ends with the dialog.
 */
export async function explain({ body, frame, text, row, picture, own, limits, signal }) {
  if (!text) {
    body.textContent = say("noTextHere");
    return;
  }
  body.textContent = say("explaining");
  try {
    const { found, whole } = await ask(picture ? { text } : { text, row }, picture, signal);
    const hint = whole ? "wholeHint" : own ? "ownHint" : "wordsHint";
    show({ body, frame, found, hint, limits, signal });
  } catch (error) {
    if (error.name !== "AbortError") body.textContent = sayProblem(error.code, error.message, limits);
  }
}

/** Of a text without a noun the whole is explained, as one word. */
async function ask(fields, picture, signal) {
  try {
    return { found: await post("/explain", fields, picture, signal), whole: false };
  } catch (error) {
    if (error.code !== NO_NOUN) throw error;
    return { found: await post("/explain", { ...fields, only: [fields.text] }, picture, signal), whole: true };
  }
}

function show({ body, frame, found, hint, limits, signal }) {
  const canvas = element("canvas", "heat");
  const marks = element("canvas", "mark");
  for (const one of [canvas, marks]) {
    one.height = found.patches.length;
    one.width = found.patches[0].length;
  }
  marks.tabIndex = 0;
  marks.setAttribute("role", "img");
  marks.setAttribute("aria-label", say("patchesHint"));
  frame.append(canvas);
  if (found.parts_differ) frame.append(marks); // else every part has the same word, or none
  signal.addEventListener("abort", () => {
    canvas.remove();
    marks.remove();
    frame.classList.remove("under");
  }, { once: true });

  const sentence = element("p", "sentence");
  const size = element("p", "size quiet");
  size.setAttribute("role", "status");
  const shares = element("p", "shares quiet");
  shares.setAttribute("role", "status");
  const buttons = [];
  const characters = [...found.text]; // the server counts code points, as this does
  let at = 0;
  found.entities.forEach((entity, index) => {
    sentence.append(characters.slice(at, entity.start).join(""));
    const button = element("button", "", characters.slice(entity.start, entity.end).join(""));
    button.type = "button";
    button.addEventListener("click", () => choose(button.getAttribute("aria-pressed") === "true" ? -1 : index));
    buttons.push(button);
    sentence.append(button);
    at = entity.end;
  });
  sentence.append(characters.slice(at).join(""));

  function choose(index) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
    paint(canvas, index < 0 ? null : found.maps[index], found.full);
    size.textContent = index < 0 ? "" : describe(found, index);
    frame.classList.toggle("under", index >= 0); // grey, so that the colours are those of the map
  }

  let place = null;
  function point(row, column) {
    place = [row, column];
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    context.fillStyle = "rgb(53 86 200 / .55)";
    context.fillRect(column, row, 1, 1);
    const words = list(found, row, column);
    shares.textContent = words ? say("patch")(words) : say("patchNothing");
  }
  marks.addEventListener("click", (event) => {
    const box = marks.getBoundingClientRect();
    const part = (at, start, size, count) => Math.max(0, Math.min(count - 1, Math.floor(((at - start) / size) * count)));
    point(part(event.clientY, box.top, box.height, marks.height), part(event.clientX, box.left, box.width, marks.width));
  });
  marks.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = place || [0, -step[1]];
    point(Math.max(0, Math.min(marks.height - 1, row + step[0])), Math.max(0, Math.min(marks.width - 1, column + step[1])));
  });

  shares.textContent = say("patchesHint");
  body.replaceChildren(element("p", "quiet", say(hint)), sentence, size, ...(found.parts_differ ? [shares] : []));
  for (const note of found.notes) body.append(element("p", "quiet", sayNote(note, limits)));
  choose(0);
}

/** How large the effect of an entity's strongest part is, or why nothing is marked. */
function describe(found, index) {
  if (!found.entities[index].known) return say("nothingKnown");
  const most = Math.max(...found.maps[index].flat());
  return most > 1 ? say("effect")(most.toFixed(1)) : say("noPart");
}

/** The words that a patch belongs to, most first, with their shares; empty where there is none. */
function list(found, row, column) {
  const values = found.patches[row][column];
  const all = values.reduce((sum, value) => sum + value, 0);
  return found.words
    .map((word, i) => [word.text, values[i] / all])
    .filter(([, share]) => share > 0)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 5)
    .map(([word, share]) => `${word} ${Math.round(100 * share)}%`)
    .join(say("comma"));
}

/** A pixel a patch, one scale for all: from the noise, within which nothing is painted, to `full` times it. */
function paint(canvas, map, full) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!map) return;
  const image = context.createImageData(canvas.width, canvas.height);
  map.flat().forEach((value, i) => {
    const at = Math.min(1, Math.max(0, (value - 1) / (full - 1))) * (HEAT.length - 1);
    const left = Math.min(HEAT.length - 2, Math.floor(at));
    HEAT[left].forEach((colour, c) => {
      image.data[4 * i + c] = colour + (HEAT[left + 1][c] - colour) * (at - left);
    });
    image.data[4 * i + 3] = value > 1 ? 255 * COVER : 0;
  });
  context.putImageData(image, 0, 0);
}
