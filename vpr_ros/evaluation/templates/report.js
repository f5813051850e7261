"use strict";
// The report's frame browser: the track from above, one frame with its five best places, and probability over time.

let run = null; // of data.runs
let shown = 0; // position of the frame shown, among the run's frames

const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value > 0.995 || value < 0.1 ? 1 : 0)} %`);
const imageAddress = (number) => `data:image/jpeg;base64,${data.images[number]}`;

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function picture(number, className, missing) {
  if (number === null) return element("div", `${className} missing`, missing);
  const image = element("img", className);
  image.src = imageAddress(number);
  image.alt = "";
  return image;
}

// ---- the frame -------------------------------------------------------------------------------------------------

function answerText(frame) {
  if (frame.answer === "none") return `No answer: ${frame.problem || "the frame was dropped"}`;
  if (frame.answer === "off the map") return `Not on this map, ${percent(frame.off_map_probability)}`;
  const off = frame.error === null ? "" : `, ${frame.error.toFixed(1)} ${run.unit} from the truth`;
  const turn = frame.heading_error_deg === null || !run.track ? "" : ` and ${frame.heading_error_deg.toFixed(1)}°`;
  return `On the map, ${percent(frame.probability)}${off}${turn}`;
}

function placeCard(place, rank) {
  const verdict = place.right === null ? "unknown" : place.right ? "right" : "wrong";
  const card = element("figure", `place ${verdict}`);
  const lines = element("figcaption", "");
  const distance = place.distance === null ? "" : `${place.distance.toFixed(1)} ${run.unit} away`;
  lines.append(
    element("strong", "", `${rank + 1}. place ${place.id}`),
    element("span", "", `probability ${percent(place.probability)}`),
    element("span", "", `similarity ${place.similarity === null ? "–" : place.similarity.toFixed(2)}`),
    element("span", "", distance),
  );
  card.append(picture(place.image, "thumbnail", "no image"), lines);
  return card;
}

function showFrame(position) {
  shown = Math.max(0, Math.min(run.frames.length - 1, position));
  const frame = run.frames[shown];
  byId("frame-number").textContent = `Frame ${shown + 1} of ${run.frames.length}`;
  byId("frame-time").textContent = `${frame.seconds.toFixed(1)} s, number ${frame.number} of the drive`;
  const verdict = { right: "right", wrong: "wrong", unknown: "truth not known" }[frame.verdict];
  byId("frame-verdict").textContent = frame.answer === "none" ? "no answer" : verdict;
  byId("frame-verdict").className = `verdict ${frame.verdict}`;
  byId("frame-answer").textContent = answerText(frame) + (frame.off_map ? ". The camera was off the map." : "");
  const hasImage = run.frames.some((one) => one.image !== null);
  const pictures = [picture(frame.image, "query", hasImage ? "image left out of this file" : "no image")];
  if (frame.depth !== null) pictures.push(picture(frame.depth, "query depth", ""));
  byId("frame-images").replaceChildren(...pictures);
  byId("frame-depth").textContent = frame.depth === null ? "" : `Depth as the network sees it, up to ${run.depth_m} m`;
  byId("frame-places").replaceChildren(...frame.places.map(placeCard));
  if (frame.places.length === 0) byId("frame-places").append(element("p", "", "No places."));
  markFrame(frame);
}

function nextWrong(step) {
  for (let i = shown + step; i >= 0 && i < run.frames.length; i += step) {
    if (run.frames[i].verdict === "wrong") return showFrame(i);
  }
}

// ---- the two charts that follow it ------------------------------------------------------------------------------

const circle = (at, radius, line) => ({
  type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: at[0], yanchor: at[1],
  x0: -radius, x1: radius, y0: -radius, y1: radius, line,
});

// Cursor in both charts: shapes, because they are redrawn without the thousands of points under them.
function markFrame(frame) {
  const line = { color: colour("ink"), width: 1.5 };
  const x = frame.seconds;
  const cursor = { type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line };
  Plotly.relayout("timeline", { shapes: [...offMapStretches(run.frames), cursor] });
  if (!run.track) return;
  const marks = frame.places.filter((place) => place.at).map((place) => circle(place.at, 5, { color: colour("accent"), width: 2 }));
  if (frame.truth && frame.pose) {
    marks.push({ type: "line", x0: frame.truth[0], y0: frame.truth[1], x1: frame.pose[0], y1: frame.pose[1], line });
  }
  if (frame.pose) marks.push(circle(frame.pose, 7, line));
  if (frame.truth) marks.push(circle(frame.truth, 11, { ...line, width: 3 }));
  Plotly.relayout("track", { shapes: marks });
}

function offMapStretches(frames) {
  const shapes = [];
  for (let i = 0; i < frames.length; i++) {
    if (!frames[i].off_map) continue;
    const first = i;
    while (i + 1 < frames.length && frames[i + 1].off_map) i++;
    const span = { x0: frames[first].seconds, x1: frames[i].seconds, y0: 0, y1: 1, yref: "paper" };
    shapes.push({ type: "rect", ...span, fillcolor: data.colours.off_map, opacity: 0.25, line: { width: 0 }, layer: "below" });
  }
  return shapes;
}

// Points of the frames for which `where` gives a position; customdata is the frame a click shows.
function framePoints(name, where, more) {
  const chosen = run.frames.map((frame, position) => [where(frame), position]).filter(([at]) => at);
  return {
    type: "scatter", mode: "markers", name,
    x: chosen.map(([at]) => at[0]), y: chosen.map(([at]) => at[1]), customdata: chosen.map(([, position]) => position),
    text: chosen.map(([, position]) => `frame ${position + 1}: ${answerText(run.frames[position])}`), hoverinfo: "text",
    ...more,
  };
}

function drawTrack() {
  const places = {
    type: "scatter", mode: "markers", name: "places of the map", x: run.map.map((at) => at[0]), y: run.map.map((at) => at[1]),
    marker: { color: colour("quiet"), size: 4, opacity: 0.6 }, hoverinfo: "skip",
  };
  const truth = {
    type: "scatter", mode: "lines", name: "true track", line: { color: colour("ink"), width: 1.5 }, hoverinfo: "skip",
    x: run.frames.map((frame) => frame.truth && frame.truth[0]), y: run.frames.map((frame) => frame.truth && frame.truth[1]),
  };
  const far = run.frames.filter((frame) => frame.pose && frame.truth && frame.verdict === "wrong");
  const astray = {
    type: "scatter", mode: "lines", name: "to the truth", showlegend: false, hoverinfo: "skip",
    line: { color: data.colours.wrong, width: 0.7 },
    x: far.flatMap((frame) => [frame.truth[0], frame.pose[0], null]), y: far.flatMap((frame) => [frame.truth[1], frame.pose[1], null]),
  };
  const estimates = framePoints("estimates", (frame) => frame.pose, {});
  const errors = estimates.customdata.map((position) => run.frames[position].error);
  estimates.marker = {
    size: 7, color: errors.some((error) => error !== null) ? errors : data.colours.unknown,
    colorscale: data.error_scale, cmin: 0, cmax: 2 * run.tolerance, showscale: errors.some((error) => error !== null),
    colorbar: { title: { text: `error (${run.unit})`, side: "right" }, thickness: 10, len: 0.6, outlinewidth: 0 },
  };
  const calledOff = (verdict) => (frame) => frame.answer === "off the map" && frame.verdict === verdict && frame.truth;
  const ring = { width: 1, color: colour("ink") };
  const traces = [places, truth, astray, estimates,
    framePoints("“not on this map”, right", calledOff("right"), { marker: { symbol: "square", size: 8, color: data.colours.off_map, line: ring } }),
    framePoints("“not on this map”, wrong", calledOff("wrong"), { marker: { symbol: "x", size: 9, color: data.colours.wrong, line: ring } }),
  ].filter((trace) => trace.x.length > 0);
  const plan = data.plan ? [{ ...data.plan, xref: "x", yref: "y", sizing: "stretch", layer: "below" }] : [];
  // The first view is the drive and the map, not all that is drawn under them.
  const corners = [...run.map, ...run.frames.flatMap((frame) => (frame.truth ? [frame.truth] : []))];
  const range = (axis) => {
    const values = corners.map((at) => at[axis]);
    return values.length ? [values.reduce((a, b) => Math.min(a, b)) - 25, values.reduce((a, b) => Math.max(a, b)) + 25] : undefined;
  };
  draw("track", { data: traces, layout: {
    xaxis: { title: { text: "east (m)" }, range: range(0), showgrid: !data.plan },
    yaxis: { title: { text: "north (m)" }, range: range(1), scaleanchor: "x", showgrid: !data.plan },
    images: plan, hovermode: "closest", hoverdistance: 40, uirevision: run.name,
  } });
}

function drawTimeline() {
  const line = (name, value, more) =>
    framePoints(name, (frame) => (frame.answer === "none" ? null : [frame.seconds, 100 * value(frame)]), { mode: "lines", ...more });
  const wrong = framePoints("wrong answers",
    (frame) => frame.verdict === "wrong" && [frame.seconds, 100 * (frame.answer === "pose" ? frame.probability : frame.off_map_probability)],
    { marker: { symbol: "x", color: data.colours.wrong, size: 8 }, hoverinfo: "skip" });
  const traces = [
    line("best pose", (frame) => frame.probability, { line: { color: colour("accent"), width: 1.5 } }),
    line("not on this map", (frame) => frame.off_map_probability, { line: { color: "#b8860b", width: 1.5, dash: "dash" }, hoverinfo: "skip" }),
    wrong,
  ].filter((trace) => trace.x.length > 0);
  draw("timeline", { data: traces, layout: {
    xaxis: { title: { text: "time (s)" }, showgrid: false },
    yaxis: { title: { text: "probability (%)" }, range: [0, 103], fixedrange: true },
    hovermode: "x", hoverdistance: -1, uirevision: run.name,
  } });
}

function showRun(number) {
  run = data.runs[number];
  for (const [i, button] of [...document.querySelectorAll("[data-run]")].entries()) button.setAttribute("aria-pressed", i === number);
  byId("run-summary").textContent = run.summary;
  byId("run-notes").textContent = run.notes.join(" ");
  byId("track-card").hidden = !run.track;
  drawTimeline();
  if (run.track) drawTrack();
  for (const id of ["timeline", "track"]) {
    byId(id).removeAllListeners?.("plotly_click");
    byId(id).on?.("plotly_click", (event) => showFrame(event.points[0].customdata));
  }
  showFrame(0);
}

for (const button of document.querySelectorAll("[data-run]")) button.addEventListener("click", () => showRun(Number(button.dataset.run)));
byId("previous").addEventListener("click", () => showFrame(shown - 1));
byId("next").addEventListener("click", () => showFrame(shown + 1));
byId("previous-wrong").addEventListener("click", () => nextWrong(-1));
byId("next-wrong").addEventListener("click", () => nextWrong(1));
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (event.shiftKey) nextWrong(step);
  else showFrame(shown + step);
});
showRun(0);
