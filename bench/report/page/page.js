"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const COLUMNS = [
  ["method", "method"], ["protocol", "protocol"], ["tap", "tap"], ["metric", "metric"], ["value", "value"],
  ["half", "±"], ["dataset", "data"], ["encoder", "encoder"], ["preset", "preset"], ["seed", "seed"], ["weights", "weights"],
];
const NUMBERS = new Set(["value", "half", "seed"]);
const SELECTED = ["method", "protocol", "tap", "metric", "dataset", "encoder", "preset", "weights"];

// The state of the page stands in its address, so that a view of it can be shared.
const state = new URLSearchParams(location.hash.slice(1));
const FIRST = 250; // rows laid out at once: a browser sorts thousands in no time, and lays them out in seconds
let all = false;
const order = { column: "method", down: false };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shown(row, column) {
  const value = row[column];
  if (value === null || value === undefined) return column === "value" && row.status === "failed" ? "failed" : "–";
  if (column === "value" || column === "half") return row.percent ? (100 * value).toFixed(1) : value.toPrecision(4);
  return String(value);
}

const rows = data.cells.flatMap((cell, place) => cell.rows.map((row) => ({ ...cell.of, ...row, place })));
for (const row of rows) {
  row.text = COLUMNS.map(([column]) => shown(row, column)).join(" ").toLowerCase();
  row.line = element("tr", { tabindex: "0", "data-place": row.place });
  if (row.role) row.line.className = "bound";
  for (const [column] of COLUMNS) {
    const name = column === "method" && row.role ? `${row.method} (${row.role})` : shown(row, column);
    row.line.append(element("td", NUMBERS.has(column) ? { class: "number" } : {}, name));
  }
}

function compare(a, b) {
  const x = a[order.column], y = b[order.column];
  if (x === y) return 0;
  // What was not measured stands last whichever way one sorts.
  if (x === null || x === undefined) return 1;
  if (y === null || y === undefined) return -1;
  const sign = order.down ? -1 : 1;
  return typeof x === "number" ? sign * (x - y) : sign * String(x).localeCompare(String(y), "en");
}

function show() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...document.querySelectorAll("#filters select")].filter((select) => select.value !== "");
  const kept = rows.filter((row) =>
    words.every((word) => row.text.includes(word)) && chosen.every((select) => String(row[select.name]) === select.value));
  kept.sort(compare);
  byId("rows").tBodies[0].replaceChildren(...(all ? kept : kept.slice(0, FIRST)).map((row) => row.line));
  byId("more").hidden = all || kept.length <= FIRST;
  byId("more").textContent = `Show all ${kept.length} rows`;
  for (const heading of byId("rows").tHead.rows[0].cells) {
    const here = heading.dataset.column === order.column;
    heading.setAttribute("aria-sort", here ? (order.down ? "descending" : "ascending") : "none");
  }
  const kinds = new Set(kept.map((row) => `${row.group} ${row.tap} ${row.metric}`)).size;
  const count = byId("count");
  count.textContent = `${kept.length} of ${rows.length} numbers`;
  if (kinds > 1) count.append(". ", element("span", { class: "warn" },
    `They answer ${kinds} different questions: filter to one before you read an order as a ranking.`));
  remember({ sort: (order.down ? "-" : "") + order.column, find: byId("find").value || null,
    ...Object.fromEntries([...document.querySelectorAll("#filters select")].map((s) => [s.name, s.value || null])) });
}

function remember(changes) {
  for (const [name, value] of Object.entries(changes)) value === null ? state.delete(name) : state.set(name, value);
  history.replaceState(null, "", `#${state}`);
}

function sortBy(column) {
  order.down = order.column === column ? !order.down : NUMBERS.has(column);
  order.column = column;
  show();
}

function facts(of) {
  const list = element("dl");
  for (const [name, value] of Object.entries(of)) {
    if (value === null || value === undefined || (typeof value === "object" && !Object.keys(value).length)) continue;
    const plain = typeof value !== "object" ? String(value)
      : Array.isArray(value) ? value.join(", ")
      : Object.entries(value).map(([k, v]) => `${k} = ${Array.isArray(v) ? v.join(", ") : v}`).join("; ");
    list.append(element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, plain));
  }
  return list;
}

function className(cell, label) {
  return cell.classes && cell.classes[label] !== undefined ? cell.classes[label] : String(label);
}

function confusion(cell, tap, found) {
  const table = element("table", { class: "confusion" });
  if (found.pairs) {
    table.append(element("thead", {}, element("tr", {}, ...["is", "was taken for", "images"].map((t) => element("td", {}, t)))));
    table.append(element("tbody", {}, ...found.pairs.map(([is, as, n]) =>
      element("tr", {}, element("td", {}, className(cell, is)), element("td", {}, className(cell, as)), element("td", {}, String(n))))));
  } else {
    const names = found.matrix.map((_, label) => className(cell, label));
    table.append(element("thead", {}, element("tr", {}, element("th"), ...names.map((n) => element("th", { scope: "col" }, n)))));
    table.append(element("tbody", {}, ...found.matrix.map((line, is) => {
      const all = line.reduce((a, b) => a + b, 0) || 1;
      return element("tr", {}, element("th", { scope: "row" }, names[is]), ...line.map((n, as) => {
        const colour = is === as ? "0 114 178" : "213 94 0";
        return element("td", { style: `background: rgb(${colour} / ${(0.75 * n / all).toFixed(2)})` }, n ? String(n) : "");
      }));
    })));
  }
  const title = found.pairs ? `Most confused at ${tap}` : `Confusion at ${tap} (rows: what it is, columns: what it was taken for)`;
  return [element("h3", {}, title), element("div", { class: "wide" }, table)];
}

function mistakes(cell) {
  const taps = Object.entries(cell.mistakes || {}).filter(([, of]) => of.length);
  if (!taps.length) return [];
  if (!cell.pictures) return [element("p", { class: "hint" }, cell.without || "Without pictures of its mistakes.")];
  const down = Object.keys(cell.mistakes).length;
  const all = Object.keys(cell.mistakes);
  return taps.flatMap(([tap, of]) => [element("h3", {}, `The mistakes it was surest of at ${tap}`),
    element("div", { class: "mistakes" }, ...of.map((one, across) => {
      const picture = element("div", { role: "img", "aria-label": `test image ${one.image}` });
      picture.style.background = `url(${cell.pictures}) -${96 * across}px -${96 * all.indexOf(tap)}px / ${96 * data.across}px ${96 * down}px`;
      return element("figure", {}, picture, element("figcaption", {}, `${className(cell, one.predicted)}, ${(100 * one.confidence).toFixed(0)} % sure;`,
        element("br"), `is ${className(cell, one.label)} (image ${one.image})`));
    }))]);
}

let opener = null;
function open(place) {
  const cell = data.cells[place];
  if (!cell) return;
  opener = document.activeElement;
  byId("cell-title").textContent = `${cell.of.method}: ${cell.of.protocol} on ${cell.of.dataset}`;
  const parts = [];
  if (cell.error) parts.push(element("p", { class: "warn" }, `failed: ${cell.error}`));
  if (cell.unread) parts.push(element("p", { class: "warn" }, cell.unread));
  if (cell.numbers.length) {
    parts.push(element("table", {}, element("thead", {}, element("tr", {}, ...["tap", "metric", "value", "95 % interval", "chosen"].map((t) => element("th", {}, t)))),
      element("tbody", {}, ...cell.numbers.map((line) => element("tr", {}, ...line.map((text) => element("td", {}, text)))))));
  }
  if (cell.command) parts.push(element("h3", {}, "To measure it again"), element("pre", {}, cell.command));
  parts.push(element("h3", {}, "Where it comes from"), facts(cell.facts));
  for (const [tap, found] of Object.entries(cell.confusion || {})) parts.push(...confusion(cell, tap, found));
  parts.push(...mistakes(cell));
  byId("cell-body").replaceChildren(...parts);
  byId("cell").showModal();
  remember({ cell: cell.key });
}

byId("cell").addEventListener("close", () => { remember({ cell: null }); if (opener) opener.focus(); });

const head = element("tr");
for (const [column, name] of COLUMNS) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => sortBy(column));
  const look = NUMBERS.has(column) ? { class: "number" } : {};
  head.append(element("th", { scope: "col", "data-column": column, ...look }, button));
}
byId("rows").tHead.append(head);
byId("rows").tBodies[0].addEventListener("click", (event) => open(Number(event.target.closest("tr").dataset.place)));
byId("rows").tBodies[0].addEventListener("keydown", (event) => {
  const line = event.target.closest("tr");
  const next = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
  if (next) next.focus();
  if (next || event.key === "Enter" || event.key === " ") event.preventDefault();
  if (event.key === "Enter" || event.key === " ") open(Number(line.dataset.place));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select") || byId("cell").open) return;
  event.preventDefault();
  byId("find").focus();
});
for (const column of SELECTED) {
  const values = [...new Set(rows.map((row) => row[column]).filter((value) => value !== null && value !== undefined))].sort();
  if (values.length < 2) continue;
  const select = element("select", { name: column }, element("option", { value: "" }, "all"),
    ...values.map((value) => element("option", { value }, String(value))));
  select.value = values.map(String).includes(state.get(column)) ? state.get(column) : "";
  select.addEventListener("change", show);
  byId("filters").append(element("label", {}, `${column} `, select));
}
byId("more").addEventListener("click", () => { all = true; show(); });
byId("find").value = state.get("find") || "";
byId("find").addEventListener("input", show);
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const asked = state.get("sort") || "method";
order.down = asked.startsWith("-");
order.column = COLUMNS.some(([column]) => column === asked.replace(/^-/, "")) ? asked.replace(/^-/, "") : "method";
const wanted = state.get("cell");
show();
if (wanted) open(data.cells.findIndex((cell) => cell.key === wanted));
