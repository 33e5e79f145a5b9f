"use strict";
// Data, numbers as text, and plots in the colours of the page.

const DATA = JSON.parse(document.getElementById("data").textContent);

function byId(id) { return document.getElementById(id); }

function chosen(name) { return document.querySelector(`input[name=${name}]:checked`).value; }

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Four significant digits.
function significant(value) {
  if (value === null) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const short = Number(value.toPrecision(4));
  return size < 1e-4 || size >= 1e5 ? short.toExponential() : String(short);
}

function ms(value) { return value.toFixed(3); }

function whole(value) { return value.toLocaleString("en-GB"); }

// The smallest cost that a logarithmic axis shows: what costs less lies on its edge.
function floorOf(costs) {
  const above = costs.filter((cost) => cost > 0);
  return above.length ? Math.max(Math.min(...above) / 2, Math.max(...above) * 1e-5) : 1e-6;
}

// Plotly reads markup in names; these are plain text.
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function axis(title, more) {
  return {
    title: { text: title }, gridcolor: colour("line"), linecolor: colour("edge"),
    zerolinecolor: colour("line"), automargin: true, ...more,
  };
}

// An axis of costs; over several powers of ten, only these are named.
function costAxis(log, costs, domain) {
  if (!log) return axis("importance cost", { domain });
  const wide = Math.max(...costs) > 20 * Math.min(...costs);
  return axis("importance cost", {
    domain, type: "log", exponentformat: "power", ...(wide ? { dtick: 1 } : {}),
  });
}

function layout(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("text"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 56, r: 12, t: 12, b: 44 }, hovermode: "closest",
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("text") }, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    ...more,
  };
}

const CONFIG = { displayModeBar: false, responsive: true };

// Draw now, and again whenever the scheme of colours changes.
function onTheme(draw) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
