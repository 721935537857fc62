"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const COLUMNS = [
  ["method", "method"], ["protocol", "protocol"], ["tap", "tap"], ["metric", "metric"], ["value", "value"],
  ["ci_half_width", "±"], ["dataset", "data"], ["encoder", "encoder"], ["preset", "preset"], ["seed", "seed"], ["weights", "weights"],
];
const NUMERIC = new Set(["value", "ci_half_width", "seed"]);
const FILTERS = ["method", "protocol", "tap", "metric", "dataset", "encoder", "preset", "weights"];
const ROWS_AT_FIRST = 250; // a browser sorts thousands of rows at once, but needs seconds to lay them out
const PICTURE = 96; // pixels on the page

// Sorting, filters and the open cell are kept in the address, so that a link shows the same view.
const address = new URLSearchParams(location.hash.slice(1));
const order = { column: "method", descending: false };
let showAll = false;

function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  created.append(...children);
  return created;
}

const isMissing = (value) => value === null || value === undefined;

function formatValue(row, column) {
  const value = row[column];
  if (isMissing(value)) return column === "value" && row.status === "failed" ? "failed" : "–";
  if (column === "value" || column === "ci_half_width") return row.percent ? (100 * value).toFixed(1) : value.toPrecision(4);
  return String(value);
}

function createRow(row) {
  row.text = COLUMNS.map(([column]) => formatValue(row, column)).join(" ").toLowerCase();
  row.element = element("tr", { tabindex: "0", "data-index": row.index });
  if (row.role) row.element.className = "reference";
  for (const [column] of COLUMNS) {
    const text = column === "method" && row.role ? `${row.method} (${row.role})` : formatValue(row, column);
    row.element.append(element("td", NUMERIC.has(column) ? { class: "number" } : {}, text));
  }
  return row;
}

const rows = data.cells.flatMap((cell, index) => cell.headline.map((number) => createRow({ ...cell.columns, ...number, index })));

function compareRows(a, b) {
  const x = a[order.column], y = b[order.column];
  if (x === y) return 0;
  // Missing values come last in both directions.
  if (isMissing(x)) return 1;
  if (isMissing(y)) return -1;
  const sign = order.descending ? -1 : 1;
  return typeof x === "number" ? sign * (x - y) : sign * String(x).localeCompare(String(y), "en");
}

function showRows() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const filters = [...document.querySelectorAll("#filters select")];
  const active = filters.filter((select) => select.value !== "");
  const matching = rows.filter((row) =>
    words.every((word) => row.text.includes(word)) && active.every((select) => String(row[select.name]) === select.value));
  matching.sort(compareRows);
  byId("rows").tBodies[0].replaceChildren(...(showAll ? matching : matching.slice(0, ROWS_AT_FIRST)).map((row) => row.element));
  byId("more").hidden = showAll || matching.length <= ROWS_AT_FIRST;
  byId("more").textContent = `Show all ${matching.length} rows`;
  for (const heading of byId("rows").tHead.rows[0].cells) {
    const sorted = heading.dataset.column === order.column;
    heading.setAttribute("aria-sort", sorted ? (order.descending ? "descending" : "ascending") : "none");
  }
  showCount(matching);
  updateAddress({ sort: (order.descending ? "-" : "") + order.column, find: byId("find").value || null,
    ...Object.fromEntries(filters.map((select) => [select.name, select.value || null])) });
}

function showCount(matching) {
  const questions = new Set(matching.map((row) => `${row.group} ${row.tap} ${row.metric}`)).size;
  byId("count").textContent = `${matching.length} of ${rows.length} numbers`;
  if (questions > 1) byId("count").append(". ", element("span", { class: "warn" },
    `They answer ${questions} different questions. Filter to one question before you read the order as a ranking.`));
}

function updateAddress(changes) {
  for (const [name, value] of Object.entries(changes)) value === null ? address.delete(name) : address.set(name, value);
  history.replaceState(null, "", `#${address}`);
}

function sortBy(column) {
  order.descending = order.column === column ? !order.descending : NUMERIC.has(column);
  order.column = column;
  showRows();
}

function formatProvenance(value) {
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.join(", ");
  return Object.entries(value).map(([name, part]) => `${name} = ${Array.isArray(part) ? part.join(", ") : part}`).join("; ");
}

function provenanceList(provenance) {
  const list = element("dl");
  for (const [name, value] of Object.entries(provenance)) {
    if (isMissing(value) || (typeof value === "object" && !Object.keys(value).length)) continue;
    list.append(element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, formatProvenance(value)));
  }
  return list;
}

const textCells = (texts, tag = "td", attributes = {}) => texts.map((text) => element(tag, attributes, text));

function textTable(headings, lines) {
  return element("table", {}, element("thead", {}, element("tr", {}, ...textCells(headings, "th"))),
    element("tbody", {}, ...lines.map((texts) => element("tr", {}, ...textCells(texts)))));
}

function className(cell, label) {
  return cell.classes && cell.classes[label] !== undefined ? cell.classes[label] : String(label);
}

function confusionMatrix(names, matrix) {
  const lines = matrix.map((counts, label) => {
    const total = counts.reduce((a, b) => a + b, 0) || 1;
    return element("tr", {}, element("th", { scope: "row" }, names[label]), ...counts.map((count, predicted) => {
      const colour = label === predicted ? "0 114 178" : "213 94 0";
      return element("td", { style: `background: rgb(${colour} / ${(0.75 * count / total).toFixed(2)})` }, count ? String(count) : "");
    }));
  });
  return element("table", { class: "confusion" },
    element("thead", {}, element("tr", {}, element("th"), ...textCells(names, "th", { scope: "col" }))),
    element("tbody", {}, ...lines));
}

function confusionSection(cell, tap, confusion) {
  const name = (label) => className(cell, label);
  const [title, table] = confusion.pairs
    ? [`Most confused classes at ${tap}`, textTable(["true class", "predicted class", "images"],
      confusion.pairs.map(([label, predicted, count]) => [name(label), name(predicted), String(count)]))]
    : [`Confusion at ${tap} (rows: true class, columns: predicted class)`,
      confusionMatrix(confusion.matrix.map((_, label) => name(label)), confusion.matrix)];
  return [element("h3", {}, title), element("div", { class: "wide" }, table)];
}

function mistakePicture(cell, mistake, column, tapIndex, taps) {
  const picture = element("div", { role: "img", "aria-label": `test image ${mistake.image}` });
  picture.style.background = `url(${cell.pictures}) -${PICTURE * column}px -${PICTURE * tapIndex}px`
    + ` / ${PICTURE * data.pictures_per_tap}px ${PICTURE * taps}px`;
  const confidence = (100 * mistake.confidence).toFixed(0);
  return element("figure", {}, picture, element("figcaption", {},
    `predicted: ${className(cell, mistake.predicted)} (${confidence} % sure)`, element("br"),
    `true class: ${className(cell, mistake.label)} (image ${mistake.image})`));
}

function mistakeSections(cell) {
  const taps = Object.entries(cell.mistakes || {});
  if (!taps.some(([, mistakes]) => mistakes.length)) return [];
  if (!cell.pictures) return [element("p", { class: "hint" }, cell.pictures_note || "No pictures of the mistakes are stored.")];
  return taps.flatMap(([tap, mistakes], index) => !mistakes.length ? [] : [
    element("h3", {}, `Most confident mistakes at ${tap}`),
    element("div", { class: "mistakes" },
      ...mistakes.map((mistake, column) => mistakePicture(cell, mistake, column, index, taps.length))),
  ]);
}

let focusedBefore = null;
function openCell(index) {
  const cell = data.cells[index];
  if (!cell) return;
  focusedBefore = document.activeElement;
  byId("cell-title").textContent = `${cell.columns.method}: ${cell.columns.protocol} on ${cell.columns.dataset}`;
  const parts = [];
  if (cell.error) parts.push(element("p", { class: "warn" }, `failed: ${cell.error}`));
  if (cell.predictions_error) parts.push(element("p", { class: "warn" }, cell.predictions_error));
  if (cell.metrics.length) parts.push(textTable(["tap", "metric", "value", "95 % interval", "details"], cell.metrics));
  if (cell.command) parts.push(element("h3", {}, "Command that measures this cell again"), element("pre", {}, cell.command));
  parts.push(element("h3", {}, "Provenance"), provenanceList(cell.provenance));
  for (const [tap, confusion] of Object.entries(cell.confusion || {})) parts.push(...confusionSection(cell, tap, confusion));
  parts.push(...mistakeSections(cell));
  byId("cell-body").replaceChildren(...parts);
  byId("cell").showModal();
  updateAddress({ cell: cell.key });
}

byId("cell").addEventListener("close", () => { updateAddress({ cell: null }); if (focusedBefore) focusedBefore.focus(); });

const headings = element("tr");
for (const [column, name] of COLUMNS) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => sortBy(column));
  const alignment = NUMERIC.has(column) ? { class: "number" } : {};
  headings.append(element("th", { scope: "col", "data-column": column, ...alignment }, button));
}
byId("rows").tHead.append(headings);
byId("rows").tBodies[0].addEventListener("click", (event) => openCell(Number(event.target.closest("tr").dataset.index)));
byId("rows").tBodies[0].addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const neighbour = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  const opens = event.key === "Enter" || event.key === " ";
  if (neighbour) neighbour.focus();
  if (neighbour || opens) event.preventDefault();
  if (opens) openCell(Number(row.dataset.index));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select") || byId("cell").open) return;
  event.preventDefault();
  byId("find").focus();
});
for (const column of FILTERS) {
  const values = [...new Set(rows.map((row) => row[column]).filter((value) => !isMissing(value)))].sort();
  if (values.length < 2) continue;
  const select = element("select", { name: column }, element("option", { value: "" }, "all"),
    ...values.map((value) => element("option", { value }, String(value))));
  select.value = values.map(String).includes(address.get(column)) ? address.get(column) : "";
  select.addEventListener("change", showRows);
  byId("filters").append(element("label", {}, `${column} `, select));
}
byId("more").addEventListener("click", () => { showAll = true; showRows(); });
byId("find").value = address.get("find") || "";
byId("find").addEventListener("input", showRows);
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const sort = address.get("sort") || "method";
order.descending = sort.startsWith("-");
order.column = COLUMNS.some(([column]) => column === sort.replace(/^-/, "")) ? sort.replace(/^-/, "") : "method";
const key = address.get("cell"); // read before the rows are shown, which rewrites the address
showRows();
if (key) openCell(data.cells.findIndex((cell) => cell.key === key));
