// Emoji that differ by skin tones alone are one result, with the others behind it.

/** Hits in their order as lists: each of a hit and those of its family that follow. */
export function families(hits) {
  const found = new Map();
  hits.forEach((hit, place) => {
    const name = hit.family ?? place; // a number is no family's name
    if (found.has(name)) found.get(name).push(hit);
    else found.set(name, [hit]);
  });
  return [...found.values()];
}
