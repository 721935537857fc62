"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const isMissing = (value) => value === null || value === undefined;

function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  created.append(...children);
  return created;
}

// What the reader chose is kept in the address, so that a link shows the same view. A plain anchor such as #tables is not.
let address = new URLSearchParams();
function readAddress() {
  if (location.protocol !== "about:") address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
}
function updateAddress(changes) {
  for (const [name, values] of Object.entries(changes)) {
    address.delete(name);
    for (const value of [values].flat()) if (value) address.append(name, value);
  }
  // A page inside of another one, such as a notebook's, has no address of its own.
  if (location.protocol !== "about:") history.replaceState(null, "", `#${address}`);
}

// A menu of boxes to tick. Nothing ticked means that everything is shown.
class Facet {
  constructor(place, name, values, { ticked = [] } = {}) {
    this.name = name;
    this.initial = ticked;
    this.boxes = values.map((value) => element("input", { type: "checkbox", value }));
    this.summary = element("summary");
    const labels = this.boxes.map((box) => element("label", {}, box, ` ${box.value}`));
    const menu = element("details", { class: "facet", "data-facet": name }, this.summary,
      element("div", { role: "group", "aria-label": name }, ...labels));
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      this.summary.focus();
    });
    place.append(menu);
    this.tick(ticked);
  }

  get ticked() { return this.boxes.filter((box) => box.checked).map((box) => box.value); }

  tick(values) {
    for (const box of this.boxes) box.checked = values.includes(box.value);
    this.describe();
  }

  describe() {
    const chosen = this.ticked, changed = String(chosen) !== String(this.initial);
    this.summary.textContent = this.initial.length || !changed ? this.name : `${this.name}: ${chosen.join(", ")}`;
    this.summary.classList.toggle("active", changed);
  }

  accepts(value) { return !this.ticked.length || this.ticked.includes(String(value)); }
}

// Only values that differ can be chosen from.
function createFacets(place, values) {
  return Object.entries(values).map(([name, all]) => [name, [...new Set(all.map(String))]])
    .filter(([, all]) => all.length > 1)
    .map(([name, all]) => new Facet(place, name, all.sort((a, b) => a.localeCompare(b, "en", { numeric: true }))));
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.facet[open]")) if (!menu.contains(event.target)) menu.open = false;
});

function compareValues(x, y, descending) {
  // Missing values come last in both directions.
  if (isMissing(x) || isMissing(y)) return isMissing(x) - isMissing(y);
  const difference = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
  return descending ? -difference : difference;
}

// "-linear conv5" is the column "linear conv5", largest values first.
const readOrder = (text) => ({ column: text.replace(/^-/, ""), descending: text.startsWith("-") });
const writeOrder = (order) => (order.column ? (order.descending ? "-" : "") + order.column : "");

function markSorted(headings, order) {
  for (const heading of headings) {
    const sorted = heading.dataset.column === order.column;
    heading.setAttribute("aria-sort", sorted ? (order.descending ? "descending" : "ascending") : "none");
  }
}
