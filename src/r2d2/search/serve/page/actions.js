// What can be done with the picture of a result: download it, copy it, copy its path.

import { hasKey, keyHeaders } from "./key.js";

const EXTENSIONS = { "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "image/svg+xml": ".svg" };

/** Let a link save a picture of the server's, at `address`, as the end of `name`. */
export function setDownload(link, address, name, failed) {
  const end = name.split("/").pop() || "picture";
  link.href = address;
  link.download = end;
  link.onclick = async (event) => {
    event.preventDefault(); // the type, and with it the name, is known when it is here
    const response = await fetch(address, { headers: keyHeaders() });
    if (!response.ok) return failed();
    const blob = await response.blob();
    const saved = document.createElement("a");
    saved.href = URL.createObjectURL(blob);
    saved.download = withExtension(end, blob.type);
    saved.click();
    setTimeout(() => URL.revokeObjectURL(saved.href), 60_000); // the browser reads it a little later
  };
}

/** A file's name; one of another format, as what browsers show of a TIFF, gets the extension of that. */
function withExtension(name, type) {
  const extension = EXTENSIONS[type];
  if (!extension) return name;
  const own = name.match(/\.[A-Za-z0-9]{2,5}$/)?.[0].toLowerCase() ?? "";
  if (own === extension || (own === ".jpeg" && extension === ".jpg")) return name;
  return (own && /^\.(jpe?g|png|gif|webp|tiff?|bmp|hei[cf]|avif|ico|ppm|jp2)$/.test(own) ? name.slice(0, -own.length) : name) + extension;
}

/** An address that a new tab can open by itself; with a key none can. */
export const canOpen = () => !hasKey();

/** Copy a text; whether it was possible. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // over plain HTTP, except on this machine, there is no clipboard
  }
}

function copyBySelection(text) {
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "hidden";
  const home = document.querySelector("dialog[open]") ?? document.body; // outside of it nothing can be focused
  home.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  return done;
}

/** Whether this browser copies pictures, here. */
export const copiesPictures = () => Boolean(navigator.clipboard?.write && window.ClipboardItem);

/** Copy a picture, as PNG, which is all that clipboards take; whether it was possible. */
export async function copyPicture(read) {
  try {
    const png = read().then(asPng); // handed in unfinished: Safari asks for it in the click itself
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    return true;
  } catch {
    return false;
  }
}

async function asPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((done, failed) => canvas.toBlob((png) => (png ? done(png) : failed(new Error("no PNG"))), "image/png"));
}
