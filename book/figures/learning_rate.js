// Chapter 6: a schedule of the learning rate, and the loss that a nano reached with it.
"use strict";

interactive("learning-rate", (stage, data) => {
  const controls = element(stage, "div", { class: "controls" });
  const side = element(stage, "div", { class: "side" });
  const left = element(side, "svg", { viewBox: "0 0 310 270", role: "img", "aria-label": "the learning rate at each step" });
  const right = element(side, "svg", { viewBox: "0 0 310 270", role: "img" });
  const words = element(stage, "output", { "aria-live": "polite" });
  let peak = 2, warmup = 1, schedule = 0;
  const setPeak = slider(controls, "peak", data.peaks.length, peak, (i) => ((peak = i), draw()));
  const setWarmup = slider(controls, "warm-up", data.warmups.length, warmup, (i) => ((warmup = i), draw()));
  const setSchedule = choice(controls, "schedule", data.schedules, (i) => ((schedule = i), draw()));

  function draw() {
    const run = data.runs.find(
      (one) =>
        one.peak === data.peaks[peak] && one.warmup === data.warmups[warmup] && one.schedule === data.schedules[schedule],
    );
    setPeak(peak, String(run.peak));
    setWarmup(warmup, `${Math.round(100 * run.warmup)} % of the steps`);
    setSchedule(schedule);
    left.replaceChildren();
    right.replaceChildren();
    const quarter = [0, 100, 200, 300];
    const [xLeft, yLeft] = axes(left, {
      x: [0, data.steps], y: [0, 0.03], xTicks: quarter, yTicks: [0, 0.01, 0.02, 0.03],
      xName: "step", yName: "learning rate", box: [40, 30, 295, 225],
    });
    const [xRight, yRight] = axes(right, {
      x: [0, data.steps], y: [0, 4], xTicks: quarter, yTicks: [0, 1, 2, 3, 4],
      xName: "step", yName: "loss", box: [25, 30, 295, 225],
    });
    const many = data.steps / run.rates.length, few = data.steps / run.losses.length;
    element(left, "path", {
      d: path(run.rates.map((rate, i) => [xLeft(i * many), yLeft(rate)])),
      fill: "none", stroke: "#0072B2", "stroke-width": 2,
    });
    const guess = Math.log(10);
    element(right, "line", {
      x1: xRight(0), x2: xRight(data.steps), y1: yRight(guess), y2: yRight(guess), stroke: "#888", "stroke-dasharray": "4 3",
    });
    element(right, "text", { x: xRight(data.steps), y: yRight(guess) - 5, "text-anchor": "end" }, "guessing");
    element(right, "path", {
      d: path(run.losses.map((loss, i) => [xRight((i + 0.5) * few), yRight(Math.min(loss, 4))])),
      fill: "none", stroke: "#D55E00", "stroke-width": 2,
    });
    const last = run.losses[run.losses.length - 1];
    const best = Math.min(...data.runs.map((one) => one.losses[one.losses.length - 1]));
    words.textContent =
      `After ${data.steps} steps the loss is ${last.toFixed(2)}; the best of all ${data.runs.length} settings reached ` +
      `${best.toFixed(2)}.`;
    right.setAttribute("aria-label", words.textContent);
  }
  draw();
});
