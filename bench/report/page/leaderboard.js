const INTERVALS = "± intervals";
const ROW_FACETS = { "learns from": "learnsFrom", kind: "kind", year: "year" }; // name -> data attribute of a row
const BOARD_FACETS = { data: "dataset", encoder: "encoder", preset: "preset" }; // and of a board

const boards = [...document.querySelectorAll(".board")].map((article) => {
  const table = article.querySelector("table"), headings = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].map((line) => ({
    line,
    cells: new Map([...line.cells].map((cell) => [cell.dataset.column, cell])),
    text: `${article.querySelector("h3").textContent} ${line.textContent}`.toLowerCase(),
  }));
  const first = headings.find((heading) => heading.dataset.column === table.dataset.sorted);
  const order = { column: table.dataset.sorted, descending: first.dataset.better === "higher" };
  return { article, table, headings, rows, order };
});
const boardRows = boards.flatMap((board) => board.rows);
let boardOrder = { column: "", descending: false }; // no column: each board in its own order

const facets = createFacets(byId("facets"), {
  ...Object.fromEntries(Object.entries(ROW_FACETS).map(([name, key]) => [name, boardRows.map((row) => row.line.dataset[key])])),
  ...Object.fromEntries(Object.entries(BOARD_FACETS).map(([name, key]) => [name, boards.map((board) => board.article.dataset[key])])),
});
const namesOf = (selector) => [...new Set([...document.querySelectorAll(selector)].map((heading) => heading.dataset.column))];
const numberNames = namesOf(".leaderboard th[data-metric]");
const columnNames = [...numberNames, ...namesOf('.leaderboard th[scope="col"]:not([data-metric], [data-column="method"])')];
const columns = new Facet(byId("columns"), "columns", [INTERVALS, ...columnNames], { ticked: [INTERVALS, ...columnNames] });

const searchWords = () => byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
// `valueOf` gives the value for the name of a facet; undefined is accepted.
const passesFacets = (valueOf) => facets.every((facet) => valueOf(facet.name) === undefined || facet.accepts(valueOf(facet.name)));

function isRowShown(row, words) {
  if (row.line.dataset.role) return true; // floor and ceiling are what the others are compared with
  return words.every((word) => row.text.includes(word))
    && passesFacets((name) => (name in ROW_FACETS ? row.line.dataset[ROW_FACETS[name]] : undefined));
}

function sortValue(row, heading) {
  const text = row.cells.get(heading.dataset.column).dataset.value;
  return text !== undefined && heading.classList.contains("number") ? Number(text) : text;
}

function sortBoard(board) {
  const chosen = board.headings.some((heading) => heading.dataset.column === boardOrder.column);
  const order = chosen ? boardOrder : board.order;
  const heading = board.headings.find((one) => one.dataset.column === order.column);
  const lines = board.rows.map((row) => [sortValue(row, heading), row.line]);
  lines.sort(([x], [y]) => compareValues(x, y, order.descending));
  board.table.tBodies[0].append(...lines.map(([, line]) => line));
  markSorted(board.headings, order);
}

function showBoards() {
  const words = searchWords(), shownColumns = new Set(columns.ticked);
  for (const board of boards) {
    for (const row of board.rows) row.line.hidden = !isRowShown(row, words);
    const found = board.rows.some((row) => !row.line.hidden && !row.line.dataset.role);
    board.article.hidden = !found || !passesFacets((name) => board.article.dataset[BOARD_FACETS[name]]);
    for (const cells of [board.headings, ...board.rows.map((row) => row.line.cells)]) {
      for (const cell of cells) cell.hidden = cell.dataset.column !== "method" && !shownColumns.has(cell.dataset.column);
    }
    board.table.classList.toggle("no-intervals", !shownColumns.has(INTERVALS));
    sortBoard(board);
    board.rows.flatMap((row) => [...row.line.querySelectorAll("a")]).forEach((link) => { link.tabIndex = -1; });
    const first = board.table.querySelector("tr:not([hidden]) td:not([hidden]) a");
    if (first) first.tabIndex = 0;
  }
  const shown = boards.filter((board) => !board.article.hidden);
  const count = shown.reduce((sum, board) => sum + board.rows.filter((row) => !row.line.hidden).length, 0);
  byId("count").textContent = `${count} rows in ${shown.length} ${shown.length === 1 ? "table" : "tables"}`;
}

function sortBoardsBy(heading) {
  const column = heading.dataset.column, sorted = heading.getAttribute("aria-sort");
  const descending = sorted === "none" ? heading.dataset.better === "higher" : sorted === "ascending";
  boardOrder = { column, descending };
  showAll();
  revealColumn(heading);
}

// Scrolls a wide table until the column is visible; the methods stay at the left.
function revealColumn(heading) {
  const place = heading.closest(".wide"), fixed = place.querySelector("th").offsetWidth;
  const hiddenLeft = heading.offsetLeft - fixed < place.scrollLeft;
  const hiddenRight = heading.offsetLeft + heading.offsetWidth > place.scrollLeft + place.clientWidth;
  if (hiddenLeft || hiddenRight) place.scrollLeft = heading.offsetLeft - fixed;
}

// One tab stop per board; arrow keys move between its numbers.
function moveBetweenNumbers(event) {
  const link = event.target.closest("td a");
  const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
  if (!link || !step) return;
  event.preventDefault();
  const lines = [...event.currentTarget.tBodies[0].rows].filter((line) => !line.hidden);
  let line = lines.indexOf(link.closest("tr")), column = link.closest("td").cellIndex, found = null;
  while (!found && lines[line += step[0]] && lines[line].cells[column += step[1]]) {
    const cell = lines[line].cells[column];
    found = cell.hidden ? null : cell.querySelector("a");
  }
  if (!found) return;
  link.tabIndex = -1;
  found.tabIndex = 0;
  found.focus();
}

// A spreadsheet would run a text that begins like a formula; an apostrophe in front prevents it.
function csvField(text) {
  const safe = /^[=+@\-\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function shownAsCsv() {
  const shown = boards.filter((board) => !board.article.hidden);
  const names = columnNames.filter((name) => columns.ticked.includes(name));
  const hasInterval = (name) => numberNames.includes(name) && columns.ticked.includes(INTERVALS);
  const lines = [["data", "encoder", "preset", "method", "role",
    ...names.flatMap((name) => (hasInterval(name) ? [name, `${name} ±`] : [name]))]];
  for (const { article, table } of shown) {
    for (const line of [...table.tBodies[0].rows].filter((one) => !one.hidden)) {
      const cells = new Map([...line.cells].map((cell) => [cell.dataset.column, cell]));
      const partOf = (name, part) => cells.get(name)?.querySelector(part)?.textContent;
      const text = (name) => (partOf(name, "a") ?? cells.get(name)?.textContent ?? "").replace(/^≈/, "").replace(/^-$/, "");
      const interval = (name) => (partOf(name, "small") ?? "").replace(/^ ± /, "");
      lines.push([article.dataset.dataset, article.dataset.encoder, article.dataset.preset,
        cells.get("method").dataset.value, line.dataset.role,
        ...names.flatMap((name) => (hasInterval(name) ? [text(name), interval(name)] : [text(name)]))]);
    }
  }
  return lines.map((fields) => `${fields.map(csvField).join(",")}\n`).join("");
}

function downloadCsv() {
  const link = element("a", { download: "leaderboard.csv" });
  link.href = URL.createObjectURL(new Blob([shownAsCsv()], { type: "text/csv" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const { table, headings } of boards) {
  for (const heading of headings) {
    const button = element("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => sortBoardsBy(heading));
    heading.append(button);
  }
  table.addEventListener("keydown", moveBetweenNumbers);
  table.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#cell="]');
    if (!link) return;
    event.preventDefault();
    openCell(link.getAttribute("href").slice("#cell=".length));
  });
}
