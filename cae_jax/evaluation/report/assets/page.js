"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A new element with attributes; text is never read as HTML. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* ---- Curves ---- */

const shown = new Set(data.curves.map((curve) => curve.id));
const lineColor = (curve) =>
  curve.kind === "own" ? color("--accent") : curve.kind === "published" ? color("--soft") : curve.color;

function trace(curve, points, axis) {
  const own = curve.kind === "own";
  return {
    name: curve.label, x: points.rate_bpp, y: points.value, text: points.setting,
    mode: curve.kind === "published" ? "lines" : "lines+markers",
    line: { color: lineColor(curve), width: curve.width, dash: curve.dash },
    marker: { symbol: curve.symbol, size: own ? 10 : 6 },
    hovertemplate: `%{x:.3f} bpp, %{y:.${axis.digits}f}${axis.unit}` + (curve.kind === "published" ? "" : "<br>setting %{text}"),
  };
}

function traces(metric, image) {
  const drawn = data.curves.filter((curve) => shown.has(curve.id) && curve.points[metric]?.[image]);
  drawn.sort((a, b) => (a.kind === "own") - (b.kind === "own")); // ours on top
  return drawn.map((curve) => trace(curve, curve.points[metric][image], data.axes[metric]));
}

function layout(metric) {
  const line = { gridcolor: color("--grid"), linecolor: color("--line"), zeroline: false, automargin: true };
  const log = $("axis").value === "log";
  const narrow = $("plots").clientWidth < 600;
  const ticks = narrow ? [0.02, 0.1, 0.5, 2, 10] : [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
  return {
    xaxis: {
      ...line, title: { text: "bits per pixel", standoff: 10 }, type: $("axis").value,
      ...(log ? { tickvals: ticks } : { rangemode: "tozero" }),
    },
    yaxis: {
      ...line, title: { text: data.axes[metric].title },
      ...(data.axes[metric].reversed ? { autorange: "reversed" } : {}),
    },
    font: { family: "system-ui, sans-serif", size: 13, color: color("--soft") },
    hoverlabel: { bgcolor: color("--card"), font: { color: color("--ink") } },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 60, r: 18, t: 18, b: 64 }, showlegend: false, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  };
}

function drawPlots() {
  const image = $("image").value;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  for (const metric of Object.keys(data.axes)) {
    Plotly.react(`plot-${metric}`, traces(metric, image), layout(metric), config);
  }
  const published = data.curves.filter((curve) => curve.kind === "published");
  $("plot-note").textContent = published.length === 0 ? "" : image
    ? "Published curves are known of the mean alone."
    : "Dashed: published, not measured here. " + published.map((c) => `${c.label}: ${c.source}`).join("; ");
}

function colorLegend() {
  document.querySelectorAll("#legend label").forEach((label, i) => {
    label.querySelector(".swatch").style.borderTopColor = lineColor(data.curves[i]);
  });
}

function setShown(curve, on) {
  if (on) shown.add(curve.id); else shown.delete(curve.id);
}

function setAll(on) {
  data.curves.forEach((curve) => setShown(curve, on));
  document.querySelectorAll("#legend input").forEach((box) => { box.checked = on; });
  drawPlots();
}

function makeCurves() {
  for (const curve of data.curves) {
    const box = element("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => { setShown(curve, box.checked); drawPlots(); });
    const swatch = element("span", { class: "swatch" });
    $("legend").append(element("label", { class: curve.kind, title: curve.source }, box, swatch, curve.label));
  }
  for (const [metric, { title }] of Object.entries(data.axes)) {
    const name = `${title} against bits per pixel, a curve for each codec`;
    $("plots").append(element("div", { id: `plot-${metric}`, class: "plot", role: "img", "aria-label": name }));
  }
  for (const id of ["image", "axis"]) $(id).addEventListener("change", drawPlots);
  $("all").addEventListener("click", () => setAll(true));
  $("none").addEventListener("click", () => setAll(false));
}

/* ---- Pictures ---- */

const ZOOMS = [1, 2, 4, 8, 16];
const ERROR_LEVELS = 32; // the top of the scale
const RAMP = [[11, 12, 16], [59, 42, 134], [176, 67, 127], [243, 154, 74], [255, 246, 207]];
const view = { image: 0, zoom: 1, x: 0.5, y: 0.5, errors: false }; // x, y: the middle of what is seen
const decoded = new Map();

/** The pixels of a picture, decoded once. */
async function pixels(src) {
  if (!decoded.has(src)) {
    const image = new Image();
    image.src = src;
    await image.decode();
    const canvas = element("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    decoded.set(src, context.getImageData(0, 0, image.width, image.height));
  }
  return decoded.get(src);
}

function ramp(share) {
  const place = Math.min(share, 1) * (RAMP.length - 1);
  const i = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[i].map((low, c) => low + (place - i) * (RAMP[i + 1][c] - low));
}

/** Mean absolute difference of R, G and B, in colours. */
function errorMap(a, b) {
  const result = new ImageData(a.width, a.height);
  const table = Array.from({ length: 3 * 255 + 1 }, (_, sum) => ramp(sum / 3 / ERROR_LEVELS));
  for (let i = 0; i < a.data.length; i += 4) {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += Math.abs(a.data[i + c] - b.data[i + c]);
    result.data.set(table[sum], i);
    result.data[i + 3] = 255;
  }
  return result;
}

async function drawSide(side) {
  const picture = data.gallery[view.image];
  const item = picture.shown[$(side).value];
  $(`${side}-name`).textContent = item.label;
  $(`${side}-name`).className = item.kind === "own" ? "own-name" : "";
  $(`${side}-words`).textContent = item.words;
  const asked = [view.image, $(side).value, view.errors].join();
  const [x, xHat] = await Promise.all([pixels(picture.shown[0].src), pixels(item.src)]);
  if (asked !== [view.image, $(side).value, view.errors].join()) return; // another choice since
  const canvas = $(`${side}-canvas`);
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").putImageData(view.errors ? errorMap(x, xHat) : xHat, 0, 0);
  canvas.setAttribute("aria-label", `${picture.name}, ${view.errors ? "errors of " : ""}${item.label}`);
}

async function drawPictures() {
  $("error-scale").hidden = !view.errors;
  await Promise.all([drawSide("left"), drawSide("right")]);
}

/** Lays the canvases so that (view.x, view.y) is at the middle, as far as the edges allow. */
function place() {
  const half = 0.5 / view.zoom;
  const within = (value) => Math.min(Math.max(value, half), 1 - half);
  [view.x, view.y] = [within(view.x), within(view.y)];
  const shift = [view.x, view.y].map((middle) => `${100 * (0.5 - middle * view.zoom)}%`);
  for (const canvas of document.querySelectorAll("#stage canvas, #trial canvas")) {
    canvas.style.transform = `translate(${shift}) scale(${view.zoom})`;
  }
  for (const id of ["stage", "trial"]) $(id).classList.toggle("zoomed", view.zoom > 1);
  document.querySelectorAll(".zooms button").forEach((button) => {
    button.setAttribute("aria-pressed", button.value === `${view.zoom}`);
  });
}

function setZoom(zoom) { view.zoom = zoom; place(); }
function setSplit(percent) {
  $("split").value = percent;
  $("stage").style.setProperty("--split", `${$("split").value}%`);
}

function chooseImage(index) {
  view.image = index;
  const picture = data.gallery[index];
  for (const [side, first] of [["left", 1], ["right", 2]]) {
    const before = $(side).selectedOptions[0]?.textContent;
    $(side).replaceChildren(...picture.shown.map((item, i) => element("option", { value: i }, item.label)));
    const same = picture.shown.findIndex((item) => item.label === before);
    $(side).value = same >= 0 ? same : Math.min(first, picture.shown.length - 1);
  }
  $("stage").style.aspectRatio = `${picture.width} / ${picture.height}`;
  $("crop-note").textContent = [`${picture.name}: ${picture.words}.`, ...picture.missing].join(" ");
  document.querySelectorAll("#thumbnails button").forEach((button, i) => {
    button.setAttribute("aria-pressed", i === index);
  });
  drawPictures();
}

/** Moves what is seen of an enlarged picture with a pointer on its frame. */
function pan(event) {
  if (!(event.buttons & 1) || view.zoom === 1) return;
  const box = event.currentTarget.getBoundingClientRect();
  view.x -= event.movementX / box.width / view.zoom;
  view.y -= event.movementY / box.height / view.zoom;
  place();
}

/** A drag moves the divider, or what is seen of an enlarged picture. */
function drag(event) {
  if (!(event.buttons & 1)) return;
  const box = $("stage").getBoundingClientRect();
  if (view.zoom === 1) setSplit((100 * (event.clientX - box.left)) / box.width);
  else if (event.type === "pointermove") pan(event);
}

function move(event) {
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const direction = directions[event.key];
  if (!direction || view.zoom === 1) return;
  event.preventDefault();
  view.x += (0.125 * direction[0]) / view.zoom;
  view.y += (0.125 * direction[1]) / view.zoom;
  place();
}

function makeZooms(group) {
  for (const zoom of ZOOMS) {
    const button = element("button", { type: "button", value: zoom }, zoom === 1 ? "whole" : `${zoom}×`);
    button.addEventListener("click", () => setZoom(zoom));
    group.append(button);
  }
}

function makeGallery() {
  data.gallery.forEach((picture, i) => {
    const image = element("img", { src: picture.shown[0].src, alt: "" });
    const button = element("button", { type: "button" }, image, picture.name);
    button.addEventListener("click", () => chooseImage(i));
    $("thumbnails").append(button);
  });
  document.querySelectorAll(".zooms").forEach(makeZooms);
  for (const side of ["left", "right"]) $(side).addEventListener("change", drawPictures);
  $("split").addEventListener("input", () => setSplit($("split").value));
  $("errors").addEventListener("click", () => {
    view.errors = !view.errors;
    $("errors").setAttribute("aria-pressed", view.errors);
    drawPictures();
  });
  $("stage").addEventListener("pointerdown", (event) => {
    $("stage").setPointerCapture(event.pointerId);
    drag(event);
  });
  $("stage").addEventListener("pointermove", drag);
  $("stage").addEventListener("keydown", move);
  setSplit(50);
  place();
  chooseImage(0);
}

/* ---- The page ---- */

function restyle() { colorLegend(); drawPlots(); }

makeCurves();
restyle();
if (data.gallery.length) makeGallery();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
// Paper is white, whatever the screen is.
for (const [event, on] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(event, () => {
    document.documentElement.toggleAttribute("data-print", on);
    if (on) document.querySelectorAll("details").forEach((details) => { details.open = true; });
    restyle();
  });
}
