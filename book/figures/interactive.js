// What the interactive figures share: each figure's script calls `interactive(name, draw)`, and draw gets the figure's
// element and the numbers that tinyvit computed for it.
"use strict";

function interactive(name, draw) {
  for (const figure of document.querySelectorAll(`figure[data-figure="${name}"]`)) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const stage = figure.querySelector(".stage");
    stage.replaceChildren();
    draw(stage, data);
    figure.dataset.ready = "yes";
  }
}

function element(parent, tag, attributes = {}, text = "") {
  const svg = parent.namespaceURI.endsWith("svg") || tag === "svg";
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

// A slider over the positions of a list; calls back with the position.
function slider(parent, words, count, start, moved) {
  const label = element(parent, "label", {}, words);
  const input = element(label, "input", { type: "range", min: 0, max: count - 1, step: 1, value: start });
  const shown = element(label, "span");
  input.addEventListener("input", () => moved(Number(input.value)));
  return (value, text) => {
    input.value = value;
    input.setAttribute("aria-valuetext", text);
    shown.textContent = text;
  };
}

// A row of buttons, one of which is pressed; calls back with its number.
function choice(parent, words, names, chosen) {
  const group = element(parent, "span", { role: "group", "aria-label": words });
  const buttons = names.map((name, number) => {
    const button = element(group, "button", { type: "button" }, name);
    button.addEventListener("click", () => chosen(number));
    return button;
  });
  return (number) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
}

// The colours of cividis, from dark blue to yellow, for a value from 0 to 1.
function cividis(value) {
  const stops = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
  const place = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2);
  const mixed = stops[below].map((low, i) => Math.round(low + (place - below) * (stops[below + 1][i] - low)));
  return `rgb(${mixed.join(",")})`;
}

// Axes in an SVG: scales for x and y (logarithmic or not), with lines and numbers at the given ticks.
function axes(svg, { x, y, xTicks, yTicks, xLog, yLog, xName, yName, box }) {
  const [left, top, right, bottom] = box;
  const scale = ([low, high], log, start, end) => (value) => {
    const f = log ? Math.log10 : (v) => v;
    return start + ((f(value) - f(low)) / (f(high) - f(low))) * (end - start);
  };
  const toX = scale(x, xLog, left, right), toY = scale(y, yLog, bottom, top);
  const number = (value) => (value !== 0 && (value < 0.001 || value >= 10000) ? value.toExponential(0) : String(value));
  const grid = element(svg, "g", { stroke: "currentColor", "stroke-opacity": 0.15 });
  for (const tick of xTicks) {
    element(grid, "line", { x1: toX(tick), x2: toX(tick), y1: top, y2: bottom });
    element(svg, "text", { x: toX(tick), y: bottom + 16, "text-anchor": "middle" }, number(tick));
  }
  for (const tick of yTicks) {
    element(grid, "line", { x1: left, x2: right, y1: toY(tick), y2: toY(tick) });
    element(svg, "text", { x: left - 6, y: toY(tick) + 4, "text-anchor": "end" }, number(tick));
  }
  element(svg, "text", { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, xName);
  element(svg, "text", { x: left, y: top - 8 }, yName);
  return [toX, toY];
}

function path(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}
