const COLUMNS = [
  ["method", "method"], ["protocol", "protocol"], ["tap", "tap"], ["metric", "metric"], ["value", "value"], ["interval", "±"],
  ["dataset", "data"], ["encoder", "encoder"], ["preset", "preset"], ["seed", "seed"], ["weights", "weights"],
];
const TEXTS = { value: "text", interval: "interval_text" }; // numbers are shown as the text that the report made of them
const NUMERIC = new Set(["value", "interval", "seed"]);
const ROW_ATTRIBUTES = { data: "dataset", encoder: "encoder", preset: "preset", "learns from": "learns_from", kind: "kind", year: "year" };
const ROWS_AT_FIRST = 250; // a browser sorts thousands of rows at once, but needs seconds to lay them out
const PICTURE = 96; // pixels on the page

let rowOrder = { column: "method", descending: false };
let showEveryRow = false;

function formatValue(row, column) {
  const value = row[TEXTS[column] || column];
  return isMissing(value) ? "-" : String(value);
}

function createRow(row) {
  row.words = COLUMNS.map(([column]) => formatValue(row, column)).join(" ").toLowerCase();
  row.element = element("tr", { tabindex: "0", "data-index": row.index });
  if (row.role) row.element.className = "reference";
  for (const [column] of COLUMNS) {
    const text = column === "method" && row.role ? `${row.method} (${row.role})` : formatValue(row, column);
    row.element.append(element("td", NUMERIC.has(column) ? { class: "number" } : {}, text));
  }
  return row;
}

const rows = data.cells.flatMap((cell, index) => cell.headline.map((number) => createRow({ ...cell.columns, ...number, index })));
const rowFacets = createFacets(byId("row-facets"),
  Object.fromEntries(["method", "protocol", "tap", "metric", "weights"].map((name) => [name, rows.map((row) => row[name] ?? "-")])));

function showRows() {
  const words = searchWords();
  const matching = rows.filter((row) => words.every((word) => row.words.includes(word))
    && rowFacets.every((facet) => facet.accepts(row[facet.name] ?? "-"))
    && passesFacets((name) => row[ROW_ATTRIBUTES[name]]));
  matching.sort((a, b) => compareValues(a[rowOrder.column], b[rowOrder.column], rowOrder.descending));
  byId("rows").tBodies[0].replaceChildren(...(showEveryRow ? matching : matching.slice(0, ROWS_AT_FIRST)).map((row) => row.element));
  byId("more").hidden = showEveryRow || matching.length <= ROWS_AT_FIRST;
  byId("more").textContent = `Show all ${matching.length} rows`;
  markSorted(byId("rows").tHead.rows[0].cells, rowOrder);
  const questions = new Set(matching.map((row) => `${row.group} ${row.tap} ${row.metric}`)).size;
  byId("row-count").textContent = `${matching.length} of ${rows.length} numbers`;
  if (questions > 1) byId("row-count").append(". ", element("span", { class: "warn" },
    `They answer ${questions} different questions. Filter to one question before you read the order as a ranking.`));
}

function sortRowsBy(column) {
  const descending = rowOrder.column === column ? !rowOrder.descending : NUMERIC.has(column);
  rowOrder = { column, descending };
  showAll();
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

function examplesSection(cell) {
  if (!cell.examples) return [];
  const columns = cell.examples.titles.join(", ");
  return [element("h3", {}, "What was asked and answered"), element("figure", {},
    element("img", { src: cell.examples.source, alt: `Rows of test images; columns: ${columns}` }),
    element("figcaption", {}, `Columns: ${columns}`))];
}

// The seeds of one cell are the numbers that its row of a table is the mean of.
function otherSeeds(cell) {
  const same = ({ columns }) => ["group", "method", "protocol", "encoder"].every((name) => columns[name] === cell.columns[name]);
  return data.cells.filter((other) => other !== cell && same(other));
}

function seedLinks(cell) {
  const others = otherSeeds(cell);
  if (!others.length) return [];
  return [element("p", {}, "Other seeds: ", ...others.flatMap((other) => {
    const link = element("a", { href: `#cell=${other.key}` }, String(other.columns.seed));
    link.addEventListener("click", (event) => { event.preventDefault(); openCell(other.key); });
    return [link, " "];
  }))];
}

let focusedBefore = null;
function openCell(key) {
  const cell = data.cells.find((one) => one.key === key);
  if (!cell) return;
  const dialog = byId("cell");
  if (!dialog.open) focusedBefore = document.activeElement;
  byId("cell-title").textContent = `${cell.columns.method}: ${cell.columns.protocol} on ${cell.columns.dataset}`;
  const parts = seedLinks(cell);
  if (cell.error) parts.push(element("p", { class: "warn" }, `failed: ${cell.error}`));
  if (cell.predictions_error) parts.push(element("p", { class: "warn" }, cell.predictions_error));
  if (cell.metrics.length) parts.push(element("div", { class: "wide" }, textTable(["tap", "metric", "value", "95 % interval", "details"], cell.metrics)));
  if (cell.command) parts.push(element("h3", {}, "Command that measures this cell again"), element("pre", {}, cell.command));
  parts.push(element("h3", {}, "Origin"), provenanceList(cell.provenance));
  for (const [tap, confusion] of Object.entries(cell.confusion || {})) parts.push(...confusionSection(cell, tap, confusion));
  parts.push(...examplesSection(cell), ...mistakeSections(cell));
  byId("cell-body").replaceChildren(...parts);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  updateAddress({ cell: cell.key });
}

byId("cell").addEventListener("close", () => { updateAddress({ cell: null }); if (focusedBefore) focusedBefore.focus(); });

const rowHeadings = element("tr");
for (const [column, name] of COLUMNS) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => sortRowsBy(column));
  const alignment = NUMERIC.has(column) ? { class: "number" } : {};
  rowHeadings.append(element("th", { scope: "col", "data-column": column, ...alignment }, button));
}
byId("rows").tHead.append(rowHeadings);
const keyOfRow = (row) => data.cells[Number(row.dataset.index)].key;
byId("rows").tBodies[0].addEventListener("click", (event) => openCell(keyOfRow(event.target.closest("tr"))));
byId("rows").tBodies[0].addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const neighbour = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  const opens = event.key === "Enter" || event.key === " ";
  if (neighbour) neighbour.focus();
  if (neighbour || opens) event.preventDefault();
  if (opens) openCell(keyOfRow(row));
});
byId("more").addEventListener("click", () => { showEveryRow = true; showRows(); });
