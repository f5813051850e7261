"use strict";
// What every page with charts shares: the data inlined in it, and charts in the page's own colours.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Draw a Plotly figure, or update it, in the element with this id.
function draw(id, figure) {
  const layout = {
    margin: { l: 55, r: 12, t: 8, b: 42 },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: colour("quiet"), size: 12, family: "system-ui, sans-serif" },
    hoverlabel: { font: { family: "system-ui, sans-serif" } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    ...figure.layout,
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    layout[name] = { gridcolor: colour("line"), zeroline: false, automargin: true, ...layout[name] };
  }
  Plotly.react(id, figure.data, layout, { displayModeBar: false, responsive: true });
}

for (const [name, figure] of Object.entries(data.charts)) draw(`chart-${name}`, figure);
