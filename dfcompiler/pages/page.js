"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = JSON.parse(document.getElementById("config").textContent);
const drawn = [...document.querySelectorAll("[data-figure]")];
const like = (of, key) => drawn.filter((x) => x !== of && x.dataset[key] && x.dataset[key] === of.dataset[key]);

// ---- tables: a title sorts, fields and menus leave rows that fit --------------------------------

const value = (cell) => (cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key));
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

function sort(table, at) {
  const heads = [...table.tHead.rows[0].cells];
  const falling = heads[at].getAttribute("aria-sort") === "ascending";
  heads.forEach((h) => h.removeAttribute("aria-sort"));
  heads[at].setAttribute("aria-sort", falling ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => (falling ? -1 : 1) * compare(value(a.cells[at]), value(b.cells[at])));
  table.tBodies[0].append(...rows);
}

function filter(box) {
  const table = document.getElementById(box.dataset.of);
  const words = box.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  const picks = [...box.querySelectorAll("select")].filter((s) => s.value);
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) {
    const text = [...row.cells].map((c) => c.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((w) => text.includes(w))
      || !picks.every((s) => row.cells[s.dataset.column].textContent === s.value);
  }
  const left = rows.filter((r) => !r.hidden).length;
  box.querySelector("output").textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((h, at) => h.firstChild.addEventListener("click", () => sort(table, at)));
}
for (const box of document.querySelectorAll(".filters")) box.addEventListener("input", () => filter(box));

function find(id, word) {
  const box = document.querySelector(`.filters[data-of="${id}"]`);
  box.querySelectorAll("select").forEach((s) => { s.value = ""; });
  box.querySelector("input").value = word;
  filter(box);
  box.scrollIntoView({ block: "center" });
}

// ---- figures of one time show the same seconds --------------------------------------------------

const times = {}; // what is seen of each time
let following = false;

// The axis up, made for what is seen of the first trace, whose values hold until the next.
function fit(figure, [start, end]) {
  if (figure.dataset.fits === undefined) return {};
  const { x, y } = figure.data[0];
  const seen = y.filter((_, i) => x[i] <= end && (i + 1 === x.length || x[i + 1] >= start));
  return { "yaxis.range": [0, 1.08 * Math.max(...seen) || 1] };
}

async function show(figure, range) {
  times[figure.dataset.time] = range;
  const all = [figure, ...like(figure, "time")].filter((f) => f.dataset.state === "drawn");
  following = true;
  await Promise.all(all.map((f) => Plotly.relayout(f, { "xaxis.range": range.slice(), ...fit(f, range) })));
  following = false;
}

function followTime(figure) {
  figure.on("plotly_relayout", (change) => {
    if (following || !Object.keys(change).some((k) => k.startsWith("xaxis"))) return;
    show(figure, figure.layout.xaxis.range);
  });
}

for (const box of document.querySelectorAll(".views")) {
  box.addEventListener("click", (event) => {
    const { start, end } = event.target.dataset;
    const pad = 0.01 * (end - start);
    if (start !== undefined) show(document.getElementById(`figure-${box.dataset.of}`), [start - pad, Number(end) + pad]);
  });
}

// ---- points and parallel coordinates follow each other ------------------------------------------

const inside = (v, range) => (Array.isArray(range[0]) ? range : [range]).some(([low, high]) => low <= v && v <= high);

function chosen(parallel) {
  const dims = parallel.data[0].dimensions.filter((d) => d.constraintrange && d.constraintrange.length);
  if (!dims.length) return null;
  const all = parallel.data[0].dimensions[0].values;
  return [...all.keys()].filter((i) => dims.every((d) => inside(d.values[i], d.constraintrange)));
}

function linkFront(points, parallel) {
  const { color: colours, colorscale: scale } = structuredClone(parallel.data[0].line);
  const low = Math.min(...colours), high = Math.max(...colours), below = low - (high - low || 1);
  // A choice of points is no range of any axis: lines that are not chosen are drawn in grey, below the scale.
  const grey = [[0, "#e6e9ed"], [0.499, "#e6e9ed"], ...scale.map(([at, c]) => [0.5 + at / 2, c])];
  const line = (color, colorscale, cmin, cmax) => Plotly.restyle(parallel,
    { "line.color": [color], "line.colorscale": [colorscale], "line.cmin": cmin, "line.cmax": cmax });
  const all = () => line(colours, scale, null, null);
  const only = (some) => line(colours.map((c, i) => (some.has(i) ? c : below)), grey, below, high);

  points.on("plotly_selected", (event) => {
    if (event) event.points.length ? only(new Set(event.points.map((p) => p.pointIndex))) : all();
  });
  points.on("plotly_deselect", all);
  parallel.on("plotly_restyle", ([change]) => {
    const brushed = Object.keys(change).some((key) => key.includes("constraintrange"));
    if (brushed) Plotly.restyle(points, { selectedpoints: [chosen(parallel)] });
  });
}

// ---- drawing: what is seen first, the rest when the browser is idle ------------------------------

async function draw(figure) {
  if (figure.dataset.state) return;
  figure.dataset.state = "drawing";
  const { data, layout } = figures[figure.dataset.figure];
  await Plotly.newPlot(figure, data, layout, config);
  figure.dataset.state = "drawn";
  if (figure.dataset.time) {
    followTime(figure);
    if (times[figure.dataset.time]) await show(figure, times[figure.dataset.time]);
  }
  if (figure.dataset.finds) {
    figure.on("plotly_click", (e) => { if (e.points[0].customdata) find(figure.dataset.finds, e.points[0].customdata); });
  }
  const [points, parallel] = drawn.filter((f) => f.dataset.brush);
  if (figure.dataset.brush && [points, parallel].every((f) => f.dataset.state === "drawn")) linkFront(points, parallel);
}

const idle = () => new Promise((then) => (window.requestIdleCallback ? requestIdleCallback(then) : setTimeout(then)));
const near = (figure) => figure.getBoundingClientRect().top < window.innerHeight;

async function drawAll() {
  for (const figure of drawn.filter(near)) await draw(figure);
  document.body.dataset.ready = "seen";
  for (const figure of drawn) { await idle(); await draw(figure); }
  document.body.dataset.ready = "all";
}
drawAll();
