// Chapter 4: what each patch of a test image looks at, in each layer and head of a trained model.
"use strict";

interactive("attention-explorer", (stage, data) => {
  const controls = element(stage, "div", { class: "controls" });
  const side = element(stage, "div", { class: "side" });
  const canvas = element(side, "canvas", { width: 420, height: 420, tabindex: 0, role: "application" });
  const map = element(side, "canvas", { width: 420, height: 420, role: "img" });
  const words = element(stage, "output", { "aria-live": "polite" });
  const { layers, heads, tokens, grid } = data;
  const weights = data.pictures.map((one) => Uint8Array.from(atob(one.weights), (letter) => letter.charCodeAt(0)));
  const images = data.pictures.map((one) => {
    const image = new Image();
    image.addEventListener("load", () => draw());
    image.src = one.image;
    return image;
  });
  let picture = 0, layer = 0, head = 0, token = 25;

  const setPicture = choice(controls, "image", data.pictures.map((one) => one.name), (i) => ((picture = i), draw()));
  const setLayer = slider(controls, "layer", layers, 0, (i) => ((layer = i), draw()));
  const setHead = slider(controls, "head", heads, 0, (i) => ((head = i), draw()));
  const setToken = choice(controls, "who looks", ["a patch", "the class token"], (i) => ((token = i ? 0 : 25), draw()));

  // The weights of the chosen token: of the largest of its row, from 0 to 255.
  function row() {
    const start = ((layer * heads + head) * tokens + token) * tokens;
    return weights[picture].subarray(start, start + tokens);
  }

  function draw() {
    const cell = canvas.width / grid, looks = row();
    setPicture(picture);
    setLayer(layer, `${layer + 1} of ${layers}`);
    setHead(head, `${head + 1} of ${heads}`);
    setToken(token ? 0 : 1);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    if (images[picture].complete) pen.drawImage(images[picture], 0, 0, canvas.width, canvas.height);
    const drawing = map.getContext("2d");
    for (let patch = 0; patch < grid * grid; patch++) {
      const x = (patch % grid) * cell, y = Math.floor(patch / grid) * cell;
      drawing.fillStyle = cividis(looks[patch + 1] / 255);
      drawing.fillRect(x, y, cell, cell);
      pen.strokeStyle = "rgba(0,0,0,0.15)";
      pen.strokeRect(x, y, cell, cell);
    }
    if (token) {
      for (const one of [pen, drawing]) {
        one.strokeStyle = "#D55E00";
        one.lineWidth = 4;
        one.strokeRect(((token - 1) % grid) * cell, Math.floor((token - 1) / grid) * cell, cell, cell);
        one.lineWidth = 1;
      }
    }
    const sum = looks.reduce((total, one) => total + one, 0);
    const best = looks.indexOf(255);
    const who = token ? `the patch in row ${Math.ceil(token / grid)}, column ${((token - 1) % grid) + 1}` : "the class token";
    const where = best ? `row ${Math.ceil(best / grid)}, column ${((best - 1) % grid) + 1}` : "the class token";
    words.textContent =
      `Layer ${layer + 1}, head ${head + 1}: ${who} looks most at ${where} ` +
      `(${Math.round((100 * 255) / sum)} % of its attention). Bright is much, dark is little.`;
    canvas.setAttribute("aria-label", `${data.pictures[picture].name}: choose a patch`);
    map.setAttribute("aria-label", words.textContent);
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (value, length) => Math.min(Math.floor((value / length) * grid), grid - 1);
    token = 1 + at(event.clientY - box.top, box.height) * grid + at(event.clientX - box.left, box.width);
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = (token || 1 + Math.floor((tokens - 1) / 2)) - 1; // from the class token, start in the middle
    const inside = (value) => Math.min(Math.max(value, 0), grid - 1);
    token = 1 + inside(Math.floor(at / grid) + step[0]) * grid + inside((at % grid) + step[1]);
    draw();
  });
  draw();
});
