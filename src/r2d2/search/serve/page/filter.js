// The filter by the table's columns: values to choose, numbers from and to, and what is chosen.

import { button, element } from "./elements.js";
import { shownValue } from "./detail.js";
import { number, say } from "./words.js";

const id = (name) => document.getElementById(name);
const CHIPS = 12; // values of a column that are all shown
const DAY = 86_400_000; // milliseconds
const HIDDEN = ["image_id"]; // each is one picture's
const AMOUNTS = ["width", "height", "bytes", "modified", "ctr", "clicks", "impressions"]; // from and to, however few they are
const UNITS = { bytes: 1024 }; // of a number that is typed, in what the table holds

/** Columns that a filter makes sense of: with more than one value. */
const useful = (column) => !HIDDEN.includes(column.name) && (isNumber(column) ? column.min !== column.max : column.values.length > 1 || !column.complete);
const isNumber = (column) => column.max !== null;

/**
 * Draw the panel. columns: what /columns gave; where: see state.js; changed: called with another `where`.
 */
export function drawPanel(columns, where, changed) {
  const shown = columns.filter(useful);
  const box = id("filter-columns");
  if (!shown.length) {
    box.replaceChildren(element("p", "quiet", say("noFilter")));
    return;
  }
  box.replaceChildren(...shown.map((column) => {
    const set = element("fieldset", "column");
    set.append(element("legend", "", columnName(column.name)));
    const tell = (filter) => changed(withFilter(where, column.name, filter));
    const chosen = where[column.name] ?? {};
    if (column.complete && column.values.length <= CHIPS && !AMOUNTS.includes(column.name)) set.append(...chips(column, chosen, tell));
    else if (isNumber(column)) set.append(...ends(column, chosen, tell));
    else set.append(...typed(column, chosen, tell));
    return set;
  }));
}

export const columnName = (name) => say("columns")[name] ?? name;

/** `where` with another filter of a column, or without. */
function withFilter(where, name, filter) {
  const { [name]: _, ...others } = where;
  const empty = !filter.values?.length && filter.min === undefined && filter.max === undefined;
  return empty ? others : { ...others, [name]: filter };
}

function chips(column, chosen, tell) {
  const values = new Set(chosen.values ?? []);
  return column.values.map(({ value, count }) => {
    const label = element("label", "chip-choice");
    const box = element("input");
    box.type = "checkbox";
    box.checked = values.has(String(value));
    box.name = column.name;
    box.value = String(value);
    box.addEventListener("change", () => {
      if (box.checked) values.add(box.value);
      else values.delete(box.value);
      tell({ values: [...values] });
    });
    const words = element("span", "", shownValue(column.name, value));
    words.append(" ", element("small", "quiet", number(count)));
    label.append(box, words);
    return label;
  });
}

/** Numbers, or days, from and to. */
function ends(column, chosen, tell) {
  const isDate = column.name === "modified"; // nanoseconds since 1970
  const unit = isDate ? 1e6 : UNITS[column.name] ?? 1;
  const filter = { ...chosen };
  return ["min", "max"].map((end) => {
    const label = element("label", "end", say(end));
    const box = element("input");
    box.type = isDate ? "date" : "number";
    box.name = `${end}.${column.name}`;
    if (!isDate) {
      box.step = "any";
      box.placeholder = String(Math.round((column[end] / unit) * 100) / 100);
    }
    if (filter[end] !== undefined) box.value = isDate ? dayOf(filter[end] / unit) : filter[end] / unit;
    box.addEventListener("change", () => {
      if (box.value === "") delete filter[end];
      else if (isDate) filter[end] = (new Date(`${box.value}T00:00`).getTime() + (end === "max" ? DAY - 1 : 0)) * unit;
      else filter[end] = Number(box.value) * unit;
      tell({ min: filter.min, max: filter.max });
    });
    label.append(box);
    return label;
  });
}

function dayOf(milliseconds) {
  const date = new Date(milliseconds);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

/** One value of many, typed or taken from a list. */
function typed(column, chosen, tell) {
  const values = new Set(chosen.values ?? []);
  const list = element("datalist");
  list.id = `values-of-${column.name}`;
  list.append(...column.values.map(({ value, count }) => {
    const option = element("option");
    option.value = value;
    option.label = `${value} (${number(count)})`;
    return option;
  }));
  const box = element("input");
  box.type = "text";
  box.name = column.name;
  box.setAttribute("list", list.id);
  box.setAttribute("aria-label", columnName(column.name));
  box.placeholder = say("typeValue");
  const add = () => {
    const value = box.value.trim();
    if (!value) return;
    tell({ values: [...values.add(value)] });
  };
  box.addEventListener("change", add);
  return [box, list];
}

/** The filters in force, each with a way to take it away. */
export function drawChosen(where, changed) {
  const chosen = Object.entries(where).flatMap(([name, filter]) => {
    if (!filter.values) return [[name, range(name, filter), {}]];
    return filter.values.map((value) => [name, shownValue(name, value), { values: filter.values.filter((one) => one !== value) }]);
  });
  id("filters").hidden = !chosen.length;
  id("filters").replaceChildren(...chosen.map(([name, words, left]) => {
    const one = button("chosen", `${columnName(name)}${say("colon")}${words}`, () => changed(withFilter(where, name, left)));
    const cross = element("span", "", "×");
    cross.setAttribute("aria-hidden", "true");
    one.append(cross);
    one.setAttribute("aria-label", say("takeFilterAway")(`${columnName(name)} ${words}`));
    return one;
  }));
  id("filter-count").hidden = !chosen.length;
  id("filter-count").textContent = number(chosen.length);
}

function range(name, filter) {
  const end = (value) => (value === undefined ? "" : name === "modified" ? new Date(value / 1e6).toLocaleDateString(document.documentElement.lang) : shownValue(name, value));
  return say("range")(end(filter.min), end(filter.max));
}
