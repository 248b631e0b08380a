/* ---- Which looks better? Pairs without their names, chosen by people ---- */

const SIDES = ["left", "right"];
const trial = { queue: [], pair: null, choices: [], original: false, leftOut: "" };

/** Labels of the codecs that have pictures, in the gallery's order; ours stand first. */
const codecsShown = [...new Set(data.gallery.flatMap((image) =>
  image.shown.filter((item) => item.kind !== "original").map((item) => item.label)))];

const itemOf = (image, label) =>
  image.shown.find((item) => item.kind !== "original" && item.label === label);

function shuffled(items) {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

function startTest() {
  const labels = [$("first").value, $("second").value];
  const equal = data.gallery.filter((image) => labels.every((label) => itemOf(image, label)?.met));
  trial.queue = shuffled(equal)
    .map((image) => ({ image, labels: Math.random() < 0.5 ? labels : [...labels].reverse() }));
  trial.count = trial.queue.length;
  trial.leftOut = leftOutWords(data.gallery.length - trial.count);
  $("start-words").textContent = trial.count ? "" : trial.leftOut;
  nextPair();
}

function leftOutWords(count) {
  if (!count) return "";
  return `${count} ${count === 1 ? "image is" : "images are"} left out: not both codecs have a file of the size.`;
}

function nextPair() {
  trial.pair = trial.queue.shift() ?? null;
  trial.original = false;
  $("trial").hidden = !trial.pair;
  if (trial.pair) showPair();
  else $("start").focus();
}

function showPair() {
  trial.since = performance.now();
  const place = trial.count - trial.queue.length;
  $("trial-words").textContent =
    `Pair ${place} of ${trial.count}. Keys: ← left, → right, ↓ no difference, O the original. ${trial.leftOut}`;
  for (const side of SIDES) $(`test-${side}-words`).replaceChildren();
  setChosen(false);
  drawPair();
  $("trial").focus();
}

function setChosen(chosen) {
  $("choices").hidden = chosen;
  $("next").hidden = !chosen;
  $("next").textContent = trial.queue.length ? "Next pair" : "Done";
}

async function drawPair() {
  const { image, labels } = trial.pair;
  $("original").setAttribute("aria-pressed", trial.original);
  const asked = [trial.pair, trial.original];
  const items = trial.original ? [image.shown[0], image.shown[0]] : labels.map((label) => itemOf(image, label));
  const decodedPixels = await Promise.all(items.map((item) => pixels(item.src)));
  if (asked[0] !== trial.pair || asked[1] !== trial.original) return; // another one since
  SIDES.forEach((side, i) => {
    const canvas = $(`test-${side}`);
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.parentElement.style.maxWidth = `${image.width}px`;
    canvas.getContext("2d").putImageData(decodedPixels[i], 0, 0);
    canvas.setAttribute("aria-label", trial.original ? "the original" : `the ${side} picture`);
  });
}

function choose(side) {
  const { image, labels } = trial.pair;
  const items = labels.map((label) => itemOf(image, label));
  trial.choices.push({
    participant: $("participant").value,
    image: image.name,
    left: labels[0],
    right: labels[1],
    preferred: side ? labels[SIDES.indexOf(side)] : "",
    left_bytes: items[0].bytes,
    right_bytes: items[1].bytes,
    seconds: Math.round((performance.now() - trial.since) / 100) / 10,
    at: new Date().toISOString(),
  });
  items.forEach((item, i) => {
    const chosen = side === SIDES[i] ? " — your choice" : "";
    $(`test-${SIDES[i]}-words`).replaceChildren(element("strong", {}, item.label + chosen), item.words);
  });
  setChosen(true);
  showCounts();
  $("next").focus();
}

/** How often each codec of a pair was chosen, for every pair of codecs so far. */
function counted() {
  const result = new Map();
  for (const { left, right, preferred } of trial.choices) {
    const labels = [left, right].sort((a, b) => codecsShown.indexOf(a) - codecsShown.indexOf(b));
    const key = JSON.stringify(labels);
    if (!result.has(key)) result.set(key, { labels, wins: [0, 0], ties: 0 });
    const counts = result.get(key);
    if (preferred) counts.wins[labels.indexOf(preferred)] += 1;
    else counts.ties += 1;
  }
  return [...result.values()];
}

/** The chance of a split this uneven or more if nobody saw a difference: a two-sided sign test. */
function signTest(first, second) {
  const total = first + second;
  let [term, sum] = [0.5 ** total, 0];
  for (let k = 0; k <= Math.min(first, second); k++) {
    sum += term;
    term *= (total - k) / (k + 1);
  }
  return Math.min(1, 2 * sum);
}

function countWords({ labels, wins, ties }) {
  const chance = signTest(...wins);
  return `${labels[0]} ${wins[0]}, ${labels[1]} ${wins[1]}, no difference ${ties}. A split this uneven ` +
    `comes by chance with probability ${chance < 0.001 ? "below 0.001" : chance.toFixed(3)}.`;
}

function showCounts() {
  $("counts").hidden = false;
  $("counts-words").replaceChildren(...counted().flatMap((counts) => [countWords(counts), element("br")]));
}

function csvText() {
  const names = Object.keys(trial.choices[0]);
  const cell = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const rows = trial.choices.map((choice) => names.map((name) => cell(choice[name])));
  return [names, ...rows].map((row) => row.join(",") + "\r\n").join("");
}

function jsonText() {
  const counts = counted().map(({ labels, wins, ties }) => ({ codecs: labels, preferred: wins, no_difference: ties }));
  return JSON.stringify({ report: document.title, counts, choices: trial.choices }, null, 2) + "\n";
}

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function trialKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || !trial.pair) return;
  const sides = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "" };
  if (event.key.toLowerCase() === "o") toggleOriginal();
  else if (event.key in sides && $("next").hidden) {
    event.preventDefault();
    choose(sides[event.key]);
  }
}

function toggleOriginal() {
  trial.original = !trial.original;
  drawPair();
}

function makeTest() {
  for (const [id, chosen] of [["first", 0], ["second", 1]]) {
    $(id).append(...codecsShown.map((label) => element("option", {}, label)));
    $(id).selectedIndex = chosen;
    $(id).addEventListener("change", () => { $("start").disabled = $("first").value === $("second").value; });
  }
  $("start").addEventListener("click", startTest);
  for (const button of $("choices").children) button.addEventListener("click", () => choose(button.value));
  $("next").addEventListener("click", nextPair);
  $("original").addEventListener("click", toggleOriginal);
  $("trial").addEventListener("keydown", trialKey);
  for (const side of SIDES) {
    const frame = $(`test-${side}`).parentElement;
    frame.addEventListener("pointerdown", (event) => frame.setPointerCapture(event.pointerId));
    frame.addEventListener("pointermove", pan);
  }
  $("export-csv").addEventListener("click", () => download("choices.csv", "text/csv", csvText()));
  $("export-json").addEventListener("click", () => download("choices.json", "application/json", jsonText()));
}

if (codecsShown.length > 1) makeTest();
