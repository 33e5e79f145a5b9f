"use strict";
// The plots of one run.

function planHover(point) {
  const lines = point.replaced.slice(0, 12).map((i) => {
    const one = EXPLORER.replacements[i];
    return `${one.kind} ${one.start}:${one.end} ${one.spec}`;
  });
  if (point.replaced.length > 12) lines.push(`and ${point.replaced.length - 12} more`);
  return [spoken(point), planText(point), ...lines].map(plain).join("<br>");
}

const HOVERS = EXPLORER ? EXPLORER.points.map(planHover) : [];
const LEAST = EXPLORER ? floorOf(EXPLORER.points.map((point) => point.cost)) : 0;

// Where a time and a cost lie on the plot's chosen axes.
function scales() {
  const log = chosen("scale") === "log", fast = chosen("across") === "speedup";
  return {
    log, fast,
    // Absolute times drift from process to process; speed-ups are over an original timed beside.
    x: (value, original) => (fast ? original / value : value),
    y: (cost) => (log ? Math.max(cost, LEAST) : cost),
  };
}

// What marks the slider's plan: a ring around it, and a bar over the metric to expect. As shapes
// they move without the traces being drawn again; the ring is a path, because a "circle" loses its
// lower half on a logarithmic axis.
const CIRCLE = "M-8,0C-8,4.4,-4.4,8,0,8C4.4,8,8,4.4,8,0C8,-4.4,4.4,-8,0,-8C-4.4,-8,-8,-4.4,-8,0Z";

function shapes() {
  const { x, y } = scales(), now = EXPLORER.points[Number(byId("slider").value)];
  const at = x(now.ms, EXPLORER.original_ms), line = { color: colour("text"), width: 2.5 };
  const found = [{
    type: "path", path: CIRCLE, xsizemode: "pixel", ysizemode: "pixel",
    xanchor: at, yanchor: y(now.cost), line,
  }];
  if (now.expected && now.replaced.length) {
    const [y0, y1] = now.expected;
    found.push({ type: "line", yref: "y2", x0: at, x1: at, y0, y1, line });
  }
  const ends = unknown();
  if (ends) {
    const [x0, x1] = ends.map((point) => x(point.ms, EXPLORER.original_ms));
    found.push({
      type: "line", yref: "paper", x0, x1, y0: BETWEEN, y1: BETWEEN,
      line: { color: colour("quiet"), width: 1.5, dash: "dot" },
    });
  }
  return found;
}

function drawFrontier() {
  const holder = byId("frontier"), measured = DATA.measured, points = EXPLORER.points;
  const { log, fast, x, y } = scales();
  const mark = (symbol, size, name) => ({
    symbol, size, color: colour(name), line: { color: colour("text"), width: 1 } });
  const traces = [{
    name: "predicted plans", x: points.map((p) => x(p.ms, EXPLORER.original_ms)),
    y: points.map((p) => y(p.cost)),
    mode: "lines+markers", line: { shape: fast ? "vh" : "hv", color: colour("accent"), width: 1 },
    marker: { size: 5, color: colour("accent") },
    text: HOVERS, hovertemplate: "%{text}<extra></extra>",
  }, {
    name: "original", x: [x(EXPLORER.original_ms, EXPLORER.original_ms)], y: [y(0)],
    mode: "markers",
    marker: mark("square", 11, "grey"), cliponaxis: false,
    hovertemplate: `original, ${ms(EXPLORER.original_ms)} ms<extra></extra>`,
  }];
  if (measured && measured.cost !== null) {
    traces.push({
      name: "measured",
      x: [x(measured.predicted_ms, EXPLORER.original_ms),
        x(measured.finetuned[0], measured.original[0])],
      y: [y(measured.cost), y(measured.cost)], mode: "lines+markers",
      line: { color: colour("orange"), dash: "dot", width: 1.5 },
      marker: { ...mark("diamond", 11, "orange"), size: [0, 11], opacity: 1 },
      hovertemplate: `the run's plan, measured ${ms(measured.finetuned[0])} ms<extra></extra>`,
    });
  }
  traces.push({ // the ring's place in the legend
    name: "the slider's plan", x: [null], y: [null], mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 16, color: colour("text"), line: { width: 2.5 } },
  });
  const above = measured || EXPLORER.accuracy;
  Plotly.react(holder, [...traces, ...band(x), ...metrics(measured, mark, x)], layout({
    xaxis: fast ? axis("speed-up, faster to the left", { anchor: "y", autorange: "reversed" })
      : axis("latency, ms", { anchor: "y", rangemode: fromZero(points) ? "tozero" : "normal" }),
    yaxis: {
      ...costAxis(log, points.map((point) => y(point.cost)), above ? [0, 0.52] : [0, 1]),
      ...(log ? zeroMarked(points.map((point) => point.cost)) : {}),
    },
    shapes: shapes(),
    annotations: beyond(x),
    ...(above ? { yaxis2: axis(label(above.metric),
      { domain: [0.63, 1], ...(SPAN ? { range: SPAN } : {}) }) } : {}),
  }), CONFIG);
  if (!holder.listening) {
    holder.listening = true;
    holder.on("plotly_click", ({ points: [hit] }) => {
      if (hit.curveNumber === 0) show(hit.pointIndex);
    });
  }
}

// Where no plan halves the latency, an axis from 0 would be empty for the most part.
const fromZero = (points) => points[0].ms < EXPLORER.original_ms / 2;

const label = ({ name, unit }) => plain(unit ? `${name}, ${unit}` : name);

// What keeping all blocks costs: nothing, but where each has an importance of its own.
const KEPT_COST = EXPLORER ? EXPLORER.blocks.reduce((sum, block) => sum + block.cost, 0) : 0;

// Ticks of a logarithmic axis on whose edge lies what costs nothing: the original.
function zeroMarked(costs) {
  const most = Math.max(...costs, LEAST), powers = [];
  for (let k = Math.floor(Math.log10(LEAST)); k <= Math.log10(most); k += 1) powers.push(k);
  const steps = powers.length > 3 ? [1] : [1, 2, 5];
  const lowest = LEAST * (most / LEAST) ** 0.12; // labels below would lie on the edge's
  const ticks = powers.flatMap((k) => steps.map((step) => step * 10 ** k))
    .filter((value) => value > lowest && value <= 1.1 * most);
  return {
    tickmode: "array", tickvals: [LEAST, ...ticks],
    ticktext: [KEPT_COST ? "0" : "0, original", ...ticks.map((value) => significant(value))],
  };
}

// The share of a whole finetune that a network had.
const finetuned = ({ share }) => share;

// The axis of the metric shows the band and what was finetuned; networks with no training may be so
// much worse that they would flatten it, and lie on its edge.
function metricSpan() {
  const known = EXPLORER.accuracy;
  if (!known || !known.knots.length) return null;
  const shown = [known.original.metric,
    ...EXPLORER.points.flatMap((point) => point.expected || []),
    ...known.points.filter((point) => finetuned(point) > 0).map((point) => point.found.metric)];
  const low = Math.min(...shown), high = Math.max(...shown), more = 0.12 * (high - low) || 1;
  return [low - more, high + more];
}

const SPAN = EXPLORER ? metricSpan() : null;

function onSpan(value) { return SPAN ? Math.min(Math.max(value, SPAN[0]), SPAN[1]) : value; }

// The plan of the frontier that costs about as much: the band is over predicted plans.
function nearest(cost) {
  return EXPLORER.points.reduce((best, point) => (
    Math.abs(point.cost - cost) < Math.abs(best.cost - cost) ? point : best));
}

// What plans may be expected to reach, and what those reached that were carried out.
function band(x) {
  const known = EXPLORER.accuracy;
  if (!known) return [];
  const at = (ms) => x(ms, EXPLORER.original_ms);
  const held = EXPLORER.points.filter((point) => point.expected && point.replaced.length);
  const around = [...held.map((p) => [p, p.expected[1]]),
    ...held.map((p) => [p, p.expected[0]]).reverse()];
  const traces = [{
    name: `${plain(known.metric.name)} to expect`, x: around.map(([p]) => at(p.ms)),
    y: around.map(([, value]) => value), yaxis: "y2", mode: "lines", fill: "toself",
    fillcolor: `${colour("green")}33`, line: { color: colour("green"), width: 1 }, hoverinfo: "skip",
  }];
  const one = (name, symbol, colourName, chosenPoints) => {
    if (chosenPoints.length) {
      traces.push({
        name, x: chosenPoints.map((p) => at(nearest(p.cost).ms)),
        y: chosenPoints.map((p) => onSpan(p.found.metric)), yaxis: "y2", mode: "markers",
        text: chosenPoints.map((p) => `${figure(p.found.metric)} ${plain(known.metric.unit)}, `
          + `measured at ${p.speedup.toFixed(2)}x`), cliponaxis: false,
        marker: { symbol, size: 8, color: colour(colourName),
          line: { color: colour(colourName), width: 1.5 } },
        hovertemplate: `${name}: %{text}<extra></extra>`,
      });
    }
  };
  // The run's own result has its marks already.
  const own = DATA.measured ? [DATA.measured.untrained[1], DATA.measured.finetuned[1]] : [];
  const others = known.points.filter((p) => p.cost !== DATA.measured?.cost
    || !own.includes(p.found.metric));
  one("tried untrained", "triangle-down-open", "blue", others.filter((p) => finetuned(p) === 0));
  one("tried, finetuned a little", "diamond-open", "green",
    others.filter((p) => finetuned(p) > 0 && finetuned(p) < 1));
  one("tried, finetuned", "star", "green", others.filter((p) => finetuned(p) >= 1));
  if (!DATA.measured) {
    traces.push({
      name: "original", x: [at(EXPLORER.original_ms)], y: [known.original.metric], yaxis: "y2",
      mode: "markers", showlegend: false, cliponaxis: false,
      marker: { symbol: "square", size: 11, color: colour("grey"),
        line: { color: colour("text"), width: 1 } },
      hovertemplate: `original: %{y:.4~g} ${plain(known.metric.unit)}<extra></extra>`,
    });
  }
  return traces;
}

// The fastest and the slowest of the plans that cost more than any that was finetuned.
function unknown() {
  const found = EXPLORER.accuracy ? EXPLORER.points.filter((point) => !point.expected) : [];
  return found.length ? [found[0], found.at(-1)] : null;
}

// Where the accuracy is not known, between the two panels.
const BETWEEN = 0.545;

function beyond(x) {
  const ends = unknown();
  if (!ends) return [];
  return [{
    x: x(ends[0].ms, EXPLORER.original_ms), y: BETWEEN, yref: "paper", text: "not measured",
    showarrow: false, font: { color: colour("quiet") }, xanchor: "left", yanchor: "bottom",
  }];
}

// What was measured in the end, above the frontier on the same axis.
function metrics(measured, mark, x) {
  if (!measured) return [];
  const one = (name, [time, metric], marker) => ({
    name, x: [x(time, measured.original[0])], y: [onSpan(metric)], yaxis: "y2", mode: "markers", marker, showlegend: name !== "original",
    cliponaxis: false, hovertemplate: `${name}: ${significant(metric)} ${plain(measured.metric.unit)} at ${ms(time)} ms<extra></extra>`,
  });
  const tie = measured.cost === null ? [] : [{ // as below: the plan's time was predicted otherwise
    name: "predicted to measured", mode: "lines", yaxis: "y2", showlegend: false, hoverinfo: "skip",
    x: [x(measured.predicted_ms, EXPLORER.original_ms),
      x(measured.finetuned[0], measured.original[0])],
    y: [measured.finetuned[1], measured.finetuned[1]],
    line: { color: colour("orange"), dash: "dot", width: 1.5 },
  }];
  return [
    ...tie,
    one("original", measured.original, mark("square", 11, "grey")),
    one("before finetuning", measured.untrained, mark("triangle-down", 12, "blue")),
    one("finetuned", measured.finetuned, mark("star", 14, "green")),
  ];
}

function drawImportance() {
  const cells = DATA.importance;
  const starts = Math.max(...cells.map(([start]) => start)) + 1;
  const ends = Math.max(...cells.map(([, end]) => end));
  const grid = () => Array.from({ length: ends }, () => Array(starts).fill(null));
  const least = floorOf(cells.map(([, , cost]) => cost)), z = grid(), text = grid();
  for (const [start, end, cost, key] of cells) {
    z[end - 1][start] = Math.log10(Math.max(cost, least));
    text[end - 1][start] = `${plain(key)}<br>cost ${significant(cost)}`;
  }
  const low = Math.floor(Math.log10(least)), high = Math.ceil(Math.max(...z.flat().filter(
    (value) => value !== null)));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  Plotly.react(byId("importance"), [{
    type: "heatmap", z, text, hovertemplate: "%{text}<extra></extra>", hoverongaps: false,
    x0: 0, dx: 1, y0: 0, dy: 1, colorscale: "Viridis", reversescale: true,
    colorbar: {
      title: { text: "cost", side: "right" }, thickness: 12, outlinewidth: 0,
      tickvals: ticks, ticktext: ticks.map((tick) => `1e${tick}`),
    },
  }], layout({
    xaxis: axis("first block", { constrain: "domain" }),
    yaxis: axis("last block", {}),
  }), CONFIG);
}

function drawTraining() {
  const { history, metric } = DATA.training;
  const epochs = history.map((_, i) => i + 1);
  const traces = [{
    name: "loss", x: epochs, y: history.map((epoch) => epoch.loss), mode: "lines+markers",
    line: { color: colour("accent") }, hovertemplate: "epoch %{x}: loss %{y:.4g}<extra></extra>",
  }];
  const measured = history.some((epoch) => epoch.metric !== null);
  if (measured) {
    traces.push({
      name: plain(metric.name), x: epochs, y: history.map((epoch) => epoch.metric), yaxis: "y2",
      mode: "lines+markers", line: { color: colour("green"), dash: "dash" },
      marker: { symbol: "square" }, connectgaps: true,
      hovertemplate: `epoch %{x}: %{y:.4~g} ${plain(metric.unit)}<extra></extra>`,
    });
  }
  Plotly.react(byId("training"), traces, layout({
    xaxis: axis("epoch", {}), yaxis: axis("training loss", {}),
    ...(measured ? { yaxis2: axis(label(metric), { overlaying: "y", side: "right" }) } : {}),
    showlegend: measured,
  }), CONFIG);
}

function drawAdditivity() {
  const traces = DATA.validations.map((validation) => ({
    name: plain(validation.network), mode: "markers",
    x: validation.timings.map((timing) => timing.measured_speedup),
    y: validation.timings.map((timing) => timing.predicted_speedup),
    marker: { size: 8 },
    hovertemplate: "random plan: measured %{x:.2f}x, predicted %{y:.2f}x<extra></extra>",
  }));
  if (DATA.measured) {
    traces.push({
      name: "the run's plan", mode: "markers", x: [DATA.measured.speedup],
      y: [DATA.measured.predicted_speedup],
      marker: { symbol: "diamond", size: 12, color: colour("orange"),
        line: { color: colour("text"), width: 1 } },
      hovertemplate: "the run's plan: measured %{x:.2f}x, predicted %{y:.2f}x<extra></extra>",
    });
  }
  const all = traces.flatMap((trace) => [...trace.x, ...trace.y]);
  const ends = [Math.min(1, ...all) * 0.95, Math.max(...all) * 1.05];
  traces.unshift({
    name: "exact", x: ends, y: ends, mode: "lines", hoverinfo: "skip",
    line: { color: colour("quiet"), width: 1 },
  });
  Plotly.react(byId("additivity"), traces, layout({
    xaxis: axis("measured speed-up", { range: ends }),
    yaxis: axis("predicted speed-up", { range: ends, scaleanchor: "x" }),
  }), CONFIG);
}

if (EXPLORER) {
  onTheme(drawFrontier);
  onPlan(() => Plotly.relayout(byId("frontier"), { shapes: shapes() }));
  for (const radio of document.querySelectorAll(".switch input")) {
    radio.addEventListener("change", drawFrontier);
  }
}
if (DATA.importance && DATA.importance.length) onTheme(drawImportance);
else if (byId("importance")) byId("importance").remove();
if (byId("training")) onTheme(drawTraining);
if (byId("additivity")) onTheme(drawAdditivity);
