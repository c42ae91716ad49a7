// Pictures of the user's that were searched by, for the way back and for a reload in the same tab.

const PREFIX = "r2d2.picture.";
const LARGEST = 2 << 20; // bytes of a file that is kept for a reload: a tab's storage is small
const held = new Map();

/** Keep a file; gives its number. */
export function keepPicture(file) {
  const number = 1 + Math.max(0, ...held.keys(), ...stored());
  held.set(number, file);
  if (file.size <= LARGEST) store(number, file);
  return number;
}

/** The file of a number; null where it is no longer there. */
export async function keptPicture(number) {
  if (held.has(number)) return held.get(number);
  try {
    const text = sessionStorage.getItem(PREFIX + number);
    if (text === null) return null;
    const { name, type, data } = JSON.parse(text);
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    held.set(number, new File([bytes], name, { type }));
    return held.get(number);
  } catch {
    return null;
  }
}

function stored() {
  try {
    return Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX)).map((name) => Number(name.slice(PREFIX.length)));
  } catch {
    return []; // storage may be forbidden
  }
}

function store(number, file) {
  const reader = new FileReader();
  reader.addEventListener("load", () => {
    const data = String(reader.result).split(",")[1] || "";
    const text = JSON.stringify({ name: file.name || "picture", type: file.type, data });
    for (const oldest of [...stored().sort((a, b) => a - b), null]) {
      try {
        sessionStorage.setItem(PREFIX + number, text);
        return;
      } catch {
        if (oldest === null) return; // then it lasts until the page is closed
        sessionStorage.removeItem(PREFIX + oldest);
      }
    }
  });
  reader.readAsDataURL(file);
}
