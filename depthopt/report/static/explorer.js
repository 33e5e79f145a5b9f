"use strict";
// The slider over the frontier: which plan, what it does, and how to make it.

const EXPLORER = DATA.explorer;
const SHOWN = [];
const POINT_AT = "Point at a part of the picture to read what it is.";

// Told of every plan that is shown.
function onPlan(listener) { SHOWN.push(listener); }

function counted(count, what) { return `${whole(count)} ${what}${count === 1 ? "" : "s"}`; }

// The replacements of each kind that there are any of: [verb, replacements].
function byKind(runs) {
  return Object.entries(EXPLORER.kinds).filter(([, kind]) => kind.changes)
    .map(([name, kind]) => [kind.verb, runs.filter((run) => run.kind === name)])
    .filter(([, found]) => found.length);
}

function planText(point) {
  const replaced = point.replaced.map((i) => EXPLORER.replacements[i]);
  const blocks = replaced.reduce((sum, one) => sum + one.end - one.start, 0);
  const kinds = byKind(replaced).map(([verb, found]) => `${found.length} ${verb}`);
  if (!replaced.length) return `all ${counted(EXPLORER.blocks.length, "block")} are kept`;
  return `${blocks} of ${counted(EXPLORER.blocks.length, "block")} replaced in `
    + `${counted(replaced.length, "segment")}: ${kinds.join(", ")}`;
}

function spoken(point) {
  return `${ms(point.ms)} milliseconds, ${speedup(point)} times as fast, `
    + `importance cost ${significant(point.cost)}`
    + (EXPLORER.accuracy ? `, ${EXPLORER.accuracy.metric.name} ${expected(point)}` : "");
}

// A value of the metric: points of 100 to one digit, others to four that count.
function figure(value) {
  return EXPLORER.accuracy.metric.unit === "%" ? value.toFixed(1) : significant(value);
}

function withUnit(text) {
  const { unit } = EXPLORER.accuracy.metric;
  return unit ? `${text} ${unit}` : text;
}

// What to expect of a plan after a whole finetune, and what it did itself; of the original, what
// it has.
function expected(point) {
  const own = measured(point);
  if (!point.expected) return own || "not measured";
  const [low, high] = [...point.expected].sort((a, b) => a - b).map(figure);
  if (!point.replaced.length) return `${withUnit(low)}, the original's`;
  return `${withUnit(`${low} to ${high}`)} expected${own ? `; ${own}` : ""}`;
}

function measured(point) {
  if (!point.measured) return "";
  const [value, share] = point.measured;
  return `measured ${withUnit(figure(value))}${afterwards(share)}`;
}

function afterwards(share) {
  if (share >= 1) return "";
  if (share === 0) return " before finetuning";
  return ` after ${Math.max(1, Math.round(100 * share))} % of the finetune`;
}

function speedup(point) { return (EXPLORER.original_ms / point.ms).toFixed(2); }

function show(index) {
  const point = EXPLORER.points[index], runs = segments(EXPLORER, point);
  const slider = byId("slider");
  slider.value = index;
  slider.setAttribute("aria-valuetext", spoken(point));
  byId("budget").value = point.budget;
  byId("budget-note").textContent = "";
  const count = (parts) => parts.reduce((sum, part) => sum + part.parameters, 0);
  byId("f-ms").textContent = `${ms(point.ms)} ms of ${ms(EXPLORER.original_ms)} ms`;
  byId("f-speedup").textContent = `${speedup(point)}x`;
  byId("f-cost").textContent = significant(point.cost);
  if (EXPLORER.accuracy) byId("f-expected").textContent = expected(point);
  byId("f-parameters").textContent =
    `${whole(count(runs))} of ${whole(count(EXPLORER.blocks))}`;
  byId("summary").textContent =
    `Plan ${whole(index + 1)} of ${whole(EXPLORER.points.length)}: ${planText(point)}.`;
  byId("command").textContent = EXPLORER.another.parts.join(point.budget);
  describe(point, runs);
  drawStrip(byId("strip"), EXPLORER, point);
  byId("strip-part").textContent = POINT_AT;
  for (const listener of SHOWN) listener(point);
}

function blocks(run) {
  return run.end - run.start === 1 ? String(run.start) : `${run.start} to ${run.end - 1}`;
}

// The strip in words, and its table.
function describe(point, runs) {
  const gone = byKind(runs)
    .map(([verb, found]) => `Blocks ${verb}: ${found.map(blocks).join(", ")}.`);
  byId("strip-text").textContent = "A block's width is its latency. A step down is a smaller "
    + "tensor. The upper row is the original and what happens to its blocks. The lower row is what "
    + "the plan runs. " + (gone.length ? gone.join(" ") : "No block is replaced.");
  const rows = runs.map((run) => row([
    blocks(run), names(EXPLORER, run.start, run.end), EXPLORER.kinds[run.kind].verb,
    [run.spec, run.activation].filter(Boolean).join(" ") || "nothing",
  ], [ms(run.original), ms(run.ms),
    EXPLORER.kinds[run.kind].changes || run.cost ? significant(run.cost) : ""]));
  rows.push(row(["", "what no plan touches", "", ""],
    [ms(EXPLORER.fixed_ms), ms(EXPLORER.fixed_ms * point.nearer), ""]));
  rows.push(row(["", "sum", "", ""], [ms(EXPLORER.original_ms), ms(point.ms),
    significant(point.cost)]));
  byId("segments").tBodies[0].replaceChildren(...rows);
}

function row(texts, numbers) {
  const made = document.createElement("tr");
  for (const text of texts) made.insertCell().textContent = text;
  for (const text of numbers) {
    const cell = made.insertCell();
    cell.textContent = text;
    cell.className = "number";
  }
  return made;
}

// As Frontier.pick: the least cost within the budget.
function pick(budgetMs) {
  let found = -1;
  EXPLORER.points.forEach((point, i) => { if (point.ms <= budgetMs) found = i; });
  return found;
}

function typed() {
  const budget = byId("budget"), found = pick(Number(budget.value));
  if (found < 0) {
    byId("budget-note").textContent =
      `below the fastest plan, ${ms(EXPLORER.points[0].ms)} ms`;
    return;
  }
  const text = budget.value;
  show(found);
  budget.value = text;
}

async function copy() {
  const button = byId("copy"), text = byId("command").textContent;
  const what = EXPLORER.another.in_python ? "Python" : "command";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("command"));
    button.textContent = "Selected: copy it with the keyboard";
  }
  setTimeout(() => { button.textContent = `Copy the ${what}`; }, 2000);
}

if (EXPLORER) {
  const slider = byId("slider");
  slider.addEventListener("input", () => show(Number(slider.value)));
  byId("budget").addEventListener("change", typed);
  byId("copy").addEventListener("click", copy);
  // A browser's own tooltip comes late, and on a touch screen never.
  byId("strip").addEventListener("pointerover", ({ target }) => {
    const title = target.closest("g, path")?.querySelector("title");
    if (title) byId("strip-part").textContent = title.textContent;
  });
  if (byId("picked")) byId("picked").addEventListener("click", () => show(EXPLORER.picked));
  onTheme(() => show(Number(slider.value)));
  let width = byId("strip").clientWidth;
  new ResizeObserver(() => {
    if (byId("strip").clientWidth === width) return;
    width = byId("strip").clientWidth;
    drawStrip(byId("strip"), EXPLORER, EXPLORER.points[Number(slider.value)]);
  }).observe(byId("strip"));
}
