// The explanation of a result, in the dialog.

import { post, picture } from "./server.js";
import { say } from "./words.js";

/**
 * Explain one result.
 * body: the element to fill; frame: the element that holds the <img>, for what is laid over it;
 * hit: the result; text: the query, null where a picture was asked by; signal: ends with the dialog.
 */
export async function explain({ body, frame, hit, text, signal }) {
  if (!text) {
    body.textContent = say("noExplanationHere");
    return;
  }
  body.textContent = say("explaining");
  try {
    const found = await post("/explain", { text, row: String(hit.row) }, await picture(hit.image), signal);
    body.textContent = JSON.stringify(found);
  } catch (error) {
    if (error.name !== "AbortError") body.textContent = say("noExplanation");
  }
}
