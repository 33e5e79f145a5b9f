"use strict";
// The network as a strip: the original's blocks above, what the plan runs below, on one scale.

const SVG = "http://www.w3.org/2000/svg";
const TOP = 64, TALL = 78, FOOT = TOP + TALL, PLAN = FOOT + 62, PLAN_TALL = 40;

function node(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// The segments that a plan runs, in order: replacements, and blocks as they are.
function segments(explorer, point) {
  const starts = new Map(point.replaced.map((i) => [explorer.replacements[i].start, i]));
  const found = [];
  for (let i = 0; i < explorer.blocks.length;) {
    if (starts.has(i)) {
      const chosen = explorer.replacements[starts.get(i)];
      found.push({ ...chosen, ms: chosen.ms * point.nearer,
        original: total(explorer.blocks.slice(chosen.start, chosen.end)) });
      i = chosen.end;
    } else {
      const block = explorer.blocks[i];
      found.push({
        start: i, end: i + 1, kind: explorer.unchanged, spec: block.spec,
        activation: block.activation, ms: block.ms * point.nearer, cost: block.cost, parameters: block.parameters,
        original: block.ms, width: 1,
      });
      i += 1;
    }
  }
  return found;
}

function total(parts) { return parts.reduce((sum, part) => sum + part.ms, 0); }

function names(explorer, start, end) {
  const first = explorer.blocks[start].name, last = explorer.blocks[end - 1].name;
  return end - start === 1 ? first : `${first} to ${last}`;
}

// Height of a block's box: each halving of the tensor is a step down.
function heights(explorer) {
  const logs = explorer.blocks.map((block) => Math.log2(Math.max(1, block.size[0])));
  const most = Math.max(...logs, 1);
  return logs.map((log) => 18 + (TALL - 18) * log / most);
}

function drawStrip(holder, explorer, point) {
  const width = Math.max(280, holder.clientWidth);
  const runs = segments(explorer, point);
  const longest = Math.max(
    total(explorer.blocks), total(runs)) + Math.max(0, explorer.fixed_ms);
  const x = (value) => 1 + (width - 2) * value / longest;
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${width} ${PLAN + PLAN_TALL + 22}`);
  picture.setAttribute("aria-hidden", "true");
  patterns(picture);
  const edges = [0];
  for (const block of explorer.blocks) edges.push(edges[edges.length - 1] + block.ms);
  links(picture, explorer, runs, edges, x);
  original(picture, explorer, runs, edges, x);
  plan(picture, explorer, runs, explorer.fixed_ms * point.nearer, x);
  holder.replaceChildren(picture);
}

function patterns(picture) {
  const defs = node(picture, "defs", {});
  const stripes = node(defs, "pattern", {
    id: "stripes", width: 6, height: 6, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)",
  });
  node(stripes, "rect", { width: 2, height: 6, fill: colour("ground"), opacity: 0.55 });
  const dots = node(defs, "pattern", {
    id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" });
  node(dots, "circle", { cx: 3, cy: 3, r: 1.2, fill: colour("ground"), opacity: 0.7 });
  const bars = node(defs, "pattern", {
    id: "bars", width: 6, height: 6, patternUnits: "userSpaceOnUse" });
  node(bars, "rect", { width: 6, height: 2, fill: colour("ground"), opacity: 0.55 });
  const rings = node(defs, "pattern", {
    id: "rings", width: 8, height: 8, patternUnits: "userSpaceOnUse" });
  node(rings, "circle", {
    cx: 4, cy: 4, r: 2.4, fill: "none", stroke: colour("ground"), opacity: 0.7 });
}

// Gives an element its kind's colours; report.css takes the one of the scheme.
function paint(element, kind) {
  element.classList.add("kind");
  element.style.setProperty("--light", kind.colour[0]);
  element.style.setProperty("--dark", kind.colour[1]);
}

function rectangle(parent, [x, y, width, height], attributes) {
  node(parent, "rect", { ...attributes, x, y, width: Math.max(0.5, width), height });
}

function box(parent, classes, place, title) {
  const group = node(parent, "g", {});
  node(group, "title", {}, title);
  rectangle(group, place, { class: `box ${classes}` });
  return group;
}

function kindBox(parent, explorer, name, place, title) {
  const kind = explorer.kinds[name], [x, y, width, height] = place;
  const group = box(parent, `${kind.changes ? "changed" : ""} ${kind.pattern}`, place, title);
  group.dataset.kind = name;
  paint(group, kind);
  if (kind.pattern !== "crosses") {
    if (kind.pattern) rectangle(group, place, { fill: `url(#${kind.pattern})` });
  } else if (width > 5) {
    const right = x + width, foot = y + height;
    node(group, "path", {
      class: "cross", d: `M${x} ${y}L${right} ${foot}M${right} ${y}L${x} ${foot}`,
    });
  }
}

function original(picture, explorer, runs, edges, x) {
  const tall = heights(explorer);
  for (const run of runs) {
    for (let i = run.start; i < run.end; i += 1) {
      const block = explorer.blocks[i];
      const title = `block ${i}, ${block.name}: ${block.spec}, ${block.activation || "linear"}, `
        + `to ${block.size.join("x")}, ${ms(block.ms)} ms; ${explorer.kinds[run.kind].verb}`;
      const left = x(edges[i]), width = x(edges[i + 1]) - left;
      kindBox(picture, explorer, run.kind, [left, FOOT - tall[i], width, tall[i]], title);
    }
  }
  const end = edges[edges.length - 1];
  if (explorer.fixed_ms > 0) {
    box(picture, "fixed", [x(end), FOOT - 18, x(end + explorer.fixed_ms) - x(end), 18],
      `what no plan touches: ${ms(explorer.fixed_ms)} ms`);
  }
  sizes(picture, explorer, edges, x);
  arcs(picture, explorer, edges, tall, x);
  for (const [position, reason] of explorer.barriers) {
    const line = node(picture, "g", {}), at = `M${x(edges[position])} ${TOP - 12}V`;
    node(line, "path", { class: "barrier", d: `${at}${FOOT + 6}` });
    node(line, "path", { class: "reach", d: `${at}${TOP}` });
    node(line, "title", {}, `barrier: ${reason}`);
  }
  node(picture, "text", { x: 1, y: 12, class: "quiet" },
    `original, ${ms(explorer.original_ms)} ms`);
}

// Under the blocks: the size of their tensors, where it changes.
function sizes(picture, explorer, edges, x) {
  let begin = 0;
  for (let i = 1; i <= explorer.blocks.length; i += 1) {
    const size = explorer.blocks[begin].size.join("x");
    if (i < explorer.blocks.length && explorer.blocks[i].size.join("x") === size) continue;
    const left = x(edges[begin]), right = x(edges[i]);
    node(picture, "path", { class: "steps", d: `M${left} ${FOOT + 3}v4H${right}v-4` });
    if (right - left > 7 * (size.length + 1)) {
      node(picture, "text", { x: (left + right) / 2, y: FOOT + 19, class: "quiet",
        "text-anchor": "middle" }, size);
    }
    begin = i;
  }
}

function arcs(picture, explorer, edges, tall, x) {
  for (const [source, target, projected] of explorer.skips) {
    if (target - source < 1) continue;
    const left = x(edges[source]), right = x(edges[target]);
    const from = FOOT - tall[source], to = FOOT - tall[target - 1];
    const high = Math.min(from, to) - Math.min(34, 8 + (right - left) * 0.35);
    const arc = node(picture, "path", {
      class: projected ? "arc projected" : "arc",
      d: `M${left} ${from}C${left} ${high} ${right} ${high} ${right} ${to}`,
    });
    node(arc, "title", {}, `skip over blocks ${source} to ${target - 1}`
      + (projected ? ", with a convolution on it" : ""));
  }
}

function links(picture, explorer, runs, edges, x) {
  let at = 0;
  for (const run of runs) {
    const kind = explorer.kinds[run.kind];
    if (kind.changes) {
      const [a, b] = [x(edges[run.start]), x(edges[run.end])];
      const [c, d] = [x(at), x(at + run.ms)];
      paint(node(picture, "path", {
        class: "link", d: `M${a} ${FOOT + 24}H${b}L${d} ${head(run)}H${c}Z` }), kind);
    }
    at += run.ms;
  }
}

// Where a segment's box begins: it is as tall as the share of hidden channels that stay.
function head(run) { return PLAN + PLAN_TALL * (1 - run.width); }

function plan(picture, explorer, runs, fixed, x) {
  let at = 0;
  for (const run of runs) {
    const left = x(at), width = x(at + run.ms) - left, kind = explorer.kinds[run.kind];
    kindBox(picture, explorer, run.kind, [left, head(run), width, PLAN + PLAN_TALL - head(run)],
      `${names(explorer, run.start, run.end)} ${kind.verb}: ${run.spec || "nothing"}, `
      + `${ms(run.ms)} of ${ms(run.original)} ms`);
    if (kind.changes && width > 12) {
      paint(node(picture, "text", {
        x: left + width / 2, y: (head(run) + PLAN + PLAN_TALL) / 2 + 4,
        class: `inside ${kind.pattern}` },
      kind.letter), kind);
    }
    at += run.ms;
  }
  if (fixed > 0) {
    box(picture, "fixed", [x(at), PLAN, x(at + fixed) - x(at), PLAN_TALL],
      `what no plan touches: ${ms(fixed)} ms`);
  }
  node(picture, "text", { x: 1, y: PLAN + PLAN_TALL + 15, class: "quiet" },
    `plan, ${ms(at + fixed)} ms`);
}
