// The API key, where the server asks for one: kept for this tab, and asked for until it is right.

import { say } from "./words.js";

const NAME = "r2d2.key";
const id = (name) => document.getElementById(name);
let key = null;
let asking = null; // one dialog for all requests that wait for it
try {
  key = sessionStorage.getItem(NAME);
} catch { /* storage may be forbidden */ }

export const hasKey = () => key !== null;
export const keyHeaders = (value = key) => (value ? { Authorization: `Bearer ${value}` } : {});

/** Ask the user; whether a key was given that the server takes. */
export function askKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

function ask() {
  const dialog = id("key");
  const text = id("key-text");
  text.value = "";
  tell("");
  dialog.showModal();
  return new Promise((done) => {
    let accepted = false;
    const submitted = async (event) => {
      event.preventDefault(); // a wrong key leaves the dialog open
      const value = text.value.trim();
      if (!value) return text.focus();
      id("key-go").disabled = true;
      const found = await tried(value);
      id("key-go").disabled = false;
      if (!dialog.open) return;
      if (found === "right") {
        accepted = true;
        keep(value);
        dialog.close();
      } else {
        tell(say("problems")[found]);
        text.select();
      }
    };
    id("key-form").addEventListener("submit", submitted);
    dialog.addEventListener("close", () => {
      id("key-form").removeEventListener("submit", submitted);
      if (accepted) document.dispatchEvent(new Event("r2d2-key"));
      done(accepted);
    }, { once: true });
  });
}

function tell(words) {
  id("key-problem").hidden = !words;
  id("key-problem").textContent = words;
  id("key-text").setAttribute("aria-invalid", String(Boolean(words)));
}

/** "right", or the code of what is wrong. Any address that needs a key will do: row 0 is cheap. */
async function tried(value) {
  try {
    const response = await fetch("/rows/0", { headers: keyHeaders(value) });
    return response.status === 401 ? "key" : "right";
  } catch (error) {
    return error instanceof TypeError && /[^\x21-\x7e]/.test(value) ? "key" : "unreachable";
  }
}

function keep(value) {
  key = value;
  try {
    sessionStorage.setItem(NAME, value);
  } catch { /* then it lasts until the page is closed */ }
}
