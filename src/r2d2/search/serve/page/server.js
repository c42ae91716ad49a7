// Talk to the server: about one of its tables, with the key where one is asked for, errors as { code, words }.

import { askKey, hasKey, keyHeaders } from "./key.js";

let table = "";

export class Problem extends Error {
  constructor(code, words) {
    super(words || code);
    this.code = code;
  }
}

/** Which table all that follows is about; empty: the first. */
export function chooseTable(name) {
  table = name;
}

/** POST fields as JSON, or as a form where there is a picture; asks for the key when it must. */
export async function post(path, fields, picture, signal) {
  let body, more = {};
  if (picture) {
    body = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      const parts = name === "where" ? [JSON.stringify(value)] : [value].flat();
      for (const one of parts) if (one !== undefined) body.append(name, one);
    }
    body.append("image", picture, "picture");
  } else {
    body = JSON.stringify(fields);
    more = { "Content-Type": "application/json" };
  }
  return answer(() => fetch(about(path), { method: "POST", body, signal, headers: { ...keyHeaders(), ...more } }));
}

/** GET; `quiet`: the user is not asked for a key. */
export const get = (path, { signal, quiet = false } = {}) => answer(() => fetch(about(path), { signal, headers: keyHeaders() }), quiet);

/** The address of the picture of a row, small. */
export const thumbnailOf = (row) => about(`/images/${row}`);

const about = (path) => (table && !path.includes("?") ? `${path}?table=${encodeURIComponent(table)}` : path);

async function answer(ask, quiet = false) {
  let response = await reached(ask);
  if (response.status === 401 && !quiet && (await askKey())) response = await reached(ask);
  if (response.ok) return response.json();
  const told = await response.json().catch(() => ({}));
  throw new Problem(told.code || String(response.status), told.error);
}

async function reached(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("unreachable");
  }
}

/** Put a picture of the server's into an <img>; with a key it must be fetched. */
export async function show(image, address, lost) {
  image.addEventListener("error", lost, { once: true });
  if (!hasKey()) {
    image.src = address;
    return;
  }
  try {
    const blob = await picture(address);
    const url = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
  } catch {
    lost();
  }
}

/** A picture of the server's as a blob. */
export const picture = async (address, signal) => (await whole(address, signal)).blob;

/** A picture of the server's as a blob, and whether it is no more than the thumbnail of a file that is gone. */
export async function whole(address, signal) {
  const ask = () => fetch(address, { headers: keyHeaders(), signal });
  let response = await reached(ask);
  if (response.status === 401 && (await askKey())) response = await reached(ask);
  if (!response.ok) throw new Problem(response.status === 404 ? "not_found" : String(response.status));
  return { blob: await response.blob(), lost: response.headers.get("x-picture") === "thumbnail" };
}
