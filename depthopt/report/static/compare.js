"use strict";
// Several runs on one plot.

const SHAPES = ["circle", "square", "diamond", "triangle-up", "star", "cross", "hexagon"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const COLOURS = ["accent", "orange", "green", "barrier", "quiet", "blue"];

function traces(run, i, log, least) {
  const y = (cost) => (log ? Math.max(cost, least) : cost);
  const tone = colour(COLOURS[i % COLOURS.length]), symbol = SHAPES[i % SHAPES.length];
  const name = plain(run.name), found = [];
  found.push({
    name, legendgroup: String(i), x: run.frontier.map(([x]) => x),
    y: run.frontier.map(([, cost]) => y(cost)), mode: "lines",
    line: { shape: "vh", color: tone, width: 1.5, dash: DASHES[i % DASHES.length] },
    hovertemplate: `${name}: %{x:.2f}x, cost %{y:.4g}<extra></extra>`,
  });
  const mark = (x, value, yaxis, filled, what) => found.push({
    name, legendgroup: String(i), showlegend: false, x: [x], y: [value], yaxis, mode: "markers",
    cliponaxis: false,
    marker: { symbol: filled ? symbol : `${symbol}-open`, size: 12, color: tone,
      line: { width: 2, color: tone } },
    hovertemplate: `${name}, ${what}: %{x:.2f}x, %{y:.4g}<extra></extra>`,
  });
  if (run.cost !== null) mark(run.predicted_speedup, y(run.cost), "y", true, "its plan");
  if (run.result) {
    const before = run.result.original.metric;
    mark(run.result.speedup, run.result.untrained_metric - before, "y2", false,
      "before finetuning");
    mark(run.result.speedup, run.result.compressed.metric - before, "y2", true, "finetuned");
  }
  return found;
}

// The metric of all runs, if they have the same.
function metric() {
  const names = new Set(DATA.runs.filter((run) => run.result).map(({ result }) => (
    result.metric.unit === "%" ? `${result.metric.name}, points` : result.metric.name)));
  return names.size === 1 ? plain([...names][0]) : "the metric";
}

function drawComparison() {
  const log = chosen("scale") === "log";
  const costs = DATA.runs.flatMap((run) => run.frontier.map(([, cost]) => cost));
  const least = floorOf(costs);
  Plotly.react(byId("plot"), DATA.runs.flatMap((run, i) => traces(run, i, log, least)), layout({
    xaxis: axis("speed-up", { anchor: "y" }),
    yaxis: costAxis(log, costs.map((cost) => Math.max(cost, least)), [0, 0.56]),
    yaxis2: axis(`change of ${metric()}`, { domain: [0.64, 1] }),
  }), CONFIG);
}

onTheme(drawComparison);
for (const radio of document.querySelectorAll(".switch input")) {
  radio.addEventListener("change", drawComparison);
}
