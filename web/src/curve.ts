/** How wrong the picture has been, moment by moment, with the moments of damage marked. */
import type { Moment } from "./automaton";

const SHOWN = 240;

export function drawCurve(canvas: HTMLCanvasElement, history: Moment[], steps: number) {
  const context = canvas.getContext("2d")!;
  const style = getComputedStyle(canvas);
  const [ink, line, accent, wound] = ["--quiet", "--line", "--accent", "--wound"].map((name) => style.getPropertyValue(name));
  const ratio = canvas.width / canvas.clientWidth;
  const [width, height] = [canvas.width, canvas.height];
  const [left, right, top, bottom] = [34 * ratio, 6 * ratio, 16 * ratio, 6 * ratio];
  context.clearRect(0, 0, width, height);
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.lineWidth = ratio;

  const highest = Math.max(0.08, ...history.map(({ error }) => error));
  const limit = [0.1, 0.2, 0.3, 0.5, 1].find((value) => value >= highest) ?? 1;
  const y = (error: number) => top + (height - top - bottom) * (1 - error / limit);
  const x = (i: number) => left + ((width - left - right) * (i + SHOWN - history.length)) / (SHOWN - 1);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    context.strokeStyle = line;
    context.beginPath();
    context.moveTo(left, y(share * limit));
    context.lineTo(width - right, y(share * limit));
    context.stroke();
    context.fillStyle = ink;
    context.fillText(`${Math.round(100 * share * limit)} %`, left - 5 * ratio, y(share * limit));
  }

  context.textAlign = "center";
  const names = { brush: "●", square: "■", half: "◨" };
  history.forEach(({ damage, born }, i) => {
    if (!damage && !born) return;
    context.strokeStyle = context.fillStyle = damage ? wound : ink;
    context.setLineDash(damage ? [] : [3 * ratio, 3 * ratio]);
    context.beginPath();
    context.moveTo(x(i), top);
    context.lineTo(x(i), height - bottom);
    context.stroke();
    context.setLineDash([]);
    if (damage && history[i - 1]?.damage !== damage) context.fillText(names[damage], x(i), top - 7 * ratio);
  });

  context.strokeStyle = accent;
  context.lineWidth = 2 * ratio;
  context.lineJoin = "round";
  context.beginPath();
  history.forEach(({ error, born }, i) => (born ? context.moveTo(x(i), y(error)) : context.lineTo(x(i), y(error))));
  context.stroke();
  const last = history.at(-1);
  if (!last) return;
  context.fillStyle = accent;
  context.beginPath();
  context.arc(x(history.length - 1), y(last.error), 3.5 * ratio, 0, 2 * Math.PI);
  context.fill();
  canvas.setAttribute("aria-label", `Wrong pixels by step: ${(100 * last.error).toFixed(1)} % after ${steps} steps.`);
}
