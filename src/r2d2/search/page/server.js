// Talk to the server: the key where one is asked for, errors as { code, words }.

let key = null;
try {
  key = sessionStorage.getItem("r2d2.key");
} catch { /* storage may be forbidden */ }

export class Problem extends Error {
  constructor(code, words) {
    super(words || code);
    this.code = code;
  }
}

const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** POST fields as JSON, or as a form where there is a picture; asks for the key when it must. */
export async function post(path, fields, picture, signal) {
  let body, more = {};
  if (picture) {
    body = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      for (const one of [value].flat()) if (one !== undefined) body.append(name, one);
    }
    body.append("image", picture, "picture");
  } else {
    body = JSON.stringify(fields);
    more = { "Content-Type": "application/json" };
  }
  return answer(() => fetch(path, { method: "POST", body, signal, headers: { ...headers(), ...more } }));
}

export const get = (path) => answer(() => fetch(path, { headers: headers() }));

async function answer(ask) {
  let response = await reached(ask);
  if (response.status === 401 && (await askKey())) response = await reached(ask);
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

function askKey() {
  const dialog = document.getElementById("key");
  const text = document.getElementById("key-text");
  text.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      key = text.value.trim() || null;
      try {
        if (key) sessionStorage.setItem("r2d2.key", key);
      } catch { /* then it lasts until the page is closed */ }
      done(key !== null);
    }, { once: true });
  });
}

/** Put a picture of the server's into an <img>; with a key it must be fetched. */
export async function show(image, address, lost) {
  image.addEventListener("error", lost, { once: true });
  if (!key) {
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
export const picture = async (address) => (await whole(address)).blob;

/** A picture of the server's as a blob, and whether it is no more than the thumbnail of a file that is gone. */
export async function whole(address, signal) {
  const response = await fetch(address, { headers: headers(), signal });
  if (!response.ok) throw new Problem(String(response.status));
  return { blob: await response.blob(), lost: response.headers.get("x-picture") === "thumbnail" };
}
