// Chapter 8: the kernels of a training step below the roof of the machine that ran them.
"use strict";

interactive("roofline", (stage, data) => {
  const controls = element(stage, "div", { class: "controls" });
  const svg = element(stage, "svg", { role: "img" });
  const words = element(stage, "output", { "aria-live": "polite" });
  let machine = 0, chosen = 0;
  const setMachine = choice(controls, "machine", data.machines.map((one) => one.name), (i) => ((machine = i), draw()));
  const setKernel = slider(controls, "kernel", data.kernels.length, 0, (i) => ((chosen = i), draw()));

  function draw() {
    const { gflops, bandwidth, name } = data.machines[machine], kernel = data.kernels[chosen];
    setMachine(machine);
    setKernel(chosen, kernel.name);
    svg.replaceChildren();
    const width = stage.clientWidth < 480 ? 360 : 640; // on a phone the letters keep their size
    svg.setAttribute("viewBox", `0 0 ${width} 380`);
    const decades = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
    const [toX, toY] = axes(svg, {
      x: [0.1, 1000], y: [1, 1e6], xLog: true, yLog: true, xTicks: decades(-1, 3), yTicks: decades(0, 6),
      xName: "FLOP for each byte moved", yName: "GFLOP/s", box: [50, 30, width - 20, 330],
    });
    const roof = (intensity) => Math.min(gflops, intensity * bandwidth);
    element(svg, "path", {
      d: path([0.1, gflops / bandwidth, 1000].map((at) => [toX(at), toY(roof(at))])),
      fill: "none", stroke: "#0072B2", "stroke-width": 2,
    });
    data.kernels.forEach((one, i) => {
      const intensity = Math.min(Math.max(one.flop / one.bytes, 0.1), 1000);
      const dot = element(svg, "circle", {
        cx: toX(intensity), cy: toY(Math.max(one.gflops, 1)), r: 5 + 14 * Math.sqrt(one.share),
        fill: i === chosen ? "#D55E00" : "#E69F00", "fill-opacity": 0.75, stroke: "white",
      });
      dot.style.cursor = "pointer";
      dot.addEventListener("click", () => ((chosen = i), draw()));
      element(dot, "title", {}, one.name);
    });
    const intensity = kernel.flop / kernel.bytes, most = roof(intensity);
    const limit = intensity < gflops / bandwidth ? "Moving bytes" : "Arithmetic";
    words.textContent =
      `${kernel.name}: ${(100 * kernel.share).toFixed(1)} % of the step's time, ${intensity.toPrecision(3)} FLOP for each byte, ` +
      `measured ${kernel.gflops.toPrecision(3)} GFLOP/s on the CPU. ${limit} limits it on this machine (${name}), to ` +
      `${Number(most.toPrecision(3)).toLocaleString("en")} GFLOP/s.`;
    svg.setAttribute("aria-label", words.textContent);
  }
  window.addEventListener("resize", draw);
  draw();
});
