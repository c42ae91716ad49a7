// Pictures of the user's: chosen, dropped or pasted, over an open dialog too.

const id = (name) => document.getElementById(name);

/** Call `took` with each picture that the user gives. */
export function takePictures(took) {
  id("pick").addEventListener("click", () => id("file").click());
  id("file").addEventListener("change", () => {
    if (id("file").files[0]) took(id("file").files[0]);
    id("file").value = "";
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])][0];
    if (!file) return;
    event.preventDefault();
    took(file);
  });
  let inside = 0; // dragenter and dragleave come for every element passed
  const files = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (files(event)) cover(++inside > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (files(event)) cover((inside = Math.max(0, inside - 1)) > 0);
  });
  document.addEventListener("dragover", (event) => files(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    inside = 0;
    cover(false);
    if (!files(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files[0]) took(event.dataTransfer.files[0]);
  });
}

/** The sign that a picture can be dropped; a popover, since those alone lie above a dialog. */
function cover(shown) {
  const sign = id("drop");
  if (sign.matches(":popover-open") === shown) return;
  if (shown) sign.showPopover();
  else sign.hidePopover();
}
