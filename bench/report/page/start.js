const tabs = [...document.querySelectorAll('[role="tab"]')];
let openTab = null;

function showTab(tab) {
  openTab = tab;
  for (const one of tabs) {
    const selected = one === tab;
    one.setAttribute("aria-selected", String(selected));
    one.tabIndex = selected ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !selected;
  }
}

function chooseTab(tab) {
  showTab(tab);
  updateAddress({ tab: tab.textContent.trim() });
}

function showAll() {
  showBoards();
  showRows();
  updateAddress({
    find: byId("find").value,
    sort: writeOrder(boardOrder),
    rows: writeOrder(rowOrder) === "method" ? null : writeOrder(rowOrder),
    hide: columns.boxes.filter((box) => !box.checked).map((box) => box.value),
    ...Object.fromEntries([...facets, ...rowFacets].map((facet) => [facet.name, facet.ticked])),
  });
}

// Shows what the address asks for; names that this page does not have are ignored.
function restore() {
  readAddress();
  byId("find").value = address.get("find") || "";
  boardOrder = readOrder(address.get("sort") || "");
  rowOrder = readOrder(address.get("rows") || "method");
  if (!COLUMNS.some(([column]) => column === rowOrder.column)) rowOrder = { column: "method", descending: false };
  if (!columnNames.includes(boardOrder.column) && boardOrder.column !== "method") boardOrder = { column: "", descending: false };
  columns.tick(columns.boxes.map((box) => box.value).filter((value) => !address.getAll("hide").includes(value)));
  for (const facet of [...facets, ...rowFacets]) facet.tick(address.getAll(facet.name));
  const key = address.get("cell"), anchor = location.hash.includes("=") ? null : location.hash;
  if (tabs.length) showTab(tabs.find((tab) => tab.textContent.trim() === address.get("tab")) || tabs[0]);
  if (anchor) { showBoards(); showRows(); } else showAll();
  for (const board of boards) revealColumn(board.headings.find((heading) => heading.getAttribute("aria-sort") !== "none"));
  if (key) openCell(key); else if (byId("cell").open) byId("cell").close();
}

byId("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const last = { Home: 0, End: tabs.length - 1 }[event.key];
  if (step === undefined && last === undefined) return;
  event.preventDefault();
  const next = tabs[last ?? (tabs.indexOf(openTab) + step + tabs.length) % tabs.length];
  chooseTab(next);
  next.focus();
});
for (const tab of tabs) tab.addEventListener("click", () => chooseTab(tab));

for (const form of [byId("filters"), byId("row-filters")]) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    for (const facet of [columns, ...facets, ...rowFacets]) facet.describe();
    showAll();
  });
}
byId("tabs").hidden = tabs.length < 2;
byId("csv").addEventListener("click", downloadCsv);
byId("reset").addEventListener("click", (event) => {
  event.preventDefault();
  for (const name of [...address.keys()]) if (name !== "tab") updateAddress({ [name]: null });
  restore();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select") || byId("cell").open) return;
  event.preventDefault();
  byId("find").focus();
});
for (const link of document.querySelectorAll("nav a, a.skip")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps what was chosen
    const part = document.querySelector(link.getAttribute("href"));
    part.tabIndex = -1;
    part.focus({ preventScroll: true });
    part.scrollIntoView();
  });
}
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
// On paper nothing can be unfolded.
const folded = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("main details:not(.facet):not([open])")) { part.open = true; folded.push(part); }
});
addEventListener("afterprint", () => { for (const part of folded.splice(0)) part.open = false; });
addEventListener("hashchange", restore);
restore();
