// Chapter 3: a photograph cut into patches of a size that the reader chooses.
"use strict";

interactive("patch-grid", (stage, data) => {
  const controls = element(stage, "div", { class: "controls" });
  const side = element(stage, "div", { class: "side" });
  const canvas = element(side, "canvas", { width: 448, height: 448, tabindex: 0, role: "application" });
  const single = element(side, "canvas", { width: 448, height: 448, role: "img", "aria-label": "the chosen patch" });
  const words = element(stage, "output", { "aria-live": "polite" });
  const photo = new Image();
  let size = data.sizes.findIndex((one) => one.patch === 16);
  const point = { row: 100, column: 84 }; // of the photograph's pixels: it stays where it is when the size changes

  const setSize = slider(controls, "patch size", data.sizes.length, size, (value) => {
    size = value;
    draw();
  });
  const number = (value) => value.toLocaleString("en-GB");

  function draw() {
    const { patch, patches, numbers, looks, multiply_adds } = data.sizes[size];
    const grid = data.size / patch, cell = canvas.width / grid;
    const row = Math.floor(point.row / patch), column = Math.floor(point.column / patch), chosen = row * grid + column;
    setSize(size, `${patch} pixels`);
    const pen = canvas.getContext("2d");
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
    pen.strokeStyle = "rgba(255,255,255,0.8)";
    for (let i = 1; i < grid; i++) {
      pen.beginPath();
      pen.moveTo(i * cell, 0);
      pen.lineTo(i * cell, canvas.height);
      pen.moveTo(0, i * cell);
      pen.lineTo(canvas.width, i * cell);
      pen.stroke();
    }
    pen.strokeStyle = "#D55E00";
    pen.lineWidth = 4;
    pen.strokeRect(column * cell, row * cell, cell, cell);
    pen.lineWidth = 1;
    const close = single.getContext("2d");
    close.imageSmoothingEnabled = false;
    close.drawImage(photo, column * patch, row * patch, patch, patch, 0, 0, single.width, single.height);
    canvas.setAttribute("aria-label", `the photograph in ${patches} patches; number ${chosen + 1} is chosen`);
    words.textContent =
      `${number(patches)} patches of ${number(numbers)} numbers; each looks at each: ${number(looks)} looks. ` +
      `A ViT-Tiny with them takes ${(multiply_adds / 1e9).toPrecision(3)} thousand million multiply-adds an image. ` +
      `Enlarged: patch ${number(chosen + 1)} of ${number(patches)}.`;
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    move(((event.clientY - box.top) / box.height) * data.size, ((event.clientX - box.left) / box.width) * data.size);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step.map((by, axis) => [point.row, point.column][axis] + by * data.sizes[size].patch));
  });

  function move(row, column) {
    const inside = (value) => Math.min(Math.max(Math.floor(value), 0), data.size - 1);
    point.row = inside(row);
    point.column = inside(column);
    draw();
  }
  photo.addEventListener("load", draw);
  photo.src = data.photo;
});
