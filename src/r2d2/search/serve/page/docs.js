// The description of the API, drawn from /openapi.json.

import { element } from "./elements.js";

const described = await (await fetch("/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? described.components.schemas[schema.$ref.split("/").pop()] : schema) || {};

function kind(schema) {
  const found = resolve(schema);
  if (found.anyOf) return found.anyOf.map(kind).join(" | ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in found) return JSON.stringify(found.const);
  if (found.type === "array") return `${kind(found.items)}[]`;
  return found.format === "binary" ? "file" : found.type || "any";
}

function table(title, schema) {
  const found = resolve(schema.type === "array" ? schema.items : schema);
  const rows = Object.entries(found.properties || {}).map(([name, field]) => {
    const row = element("tr");
    const limits = [["minimum", "≥"], ["maximum", "≤"], ["maxItems", "at most"]].filter(([key]) => key in field).map(([key, sign]) => `${sign} ${field[key]}`);
    const more = [kind(field), ...limits, "default" in field && field.default !== null ? `default ${JSON.stringify(field.default)}` : ""];
    row.append(element("td", "", name), element("td", "quiet", more.filter(Boolean).join(", ")), element("td", "", field.description || ""));
    return row;
  });
  if (!rows.length) return [];
  const box = element("table");
  box.append(...rows);
  return [element("h3", "", title), box];
}

document.getElementById("about").textContent = described.info.description;
document.getElementById("example").textContent = [
  `curl ${location.origin}/search -H 'Content-Type: application/json' -d '{"text": "生日蛋糕", "k": 5}'`,
  `curl ${location.origin}/search -F image=@cake.jpg -F target=texts`,
].join("\n");
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const box = element("section", "endpoint");
    const head = element("h2");
    head.append(element("b", "", method.toUpperCase()), path);
    box.append(head, element("p", "", about.description || about.summary || ""));
    const parameters = (about.parameters || []).map(({ name, schema, description }) => [name, { ...schema, description }]);
    box.append(...table("In the address", { properties: Object.fromEntries(parameters) }));
    for (const [type, body] of Object.entries(about.requestBody?.content || {})) box.append(...table(`Takes ${type}`, body.schema));
    const given = about.responses?.["200"]?.content?.["application/json"]?.schema;
    if (given) {
      box.append(...table("Gives", given));
      const hits = resolve(given).properties?.hits;
      if (hits) box.append(...table("Each of its hits", hits.items));
    }
    const errors = Object.keys(about.responses || {}).filter((status) => status >= "400");
    if (errors.length) box.append(element("p", "quiet", `Errors ${errors.join(", ")}: {"error": "a sentence", "code": "a word"}`));
    document.getElementById("endpoints").append(box);
  }
}
