/** What both parts of the page need of the document. */
export const $ = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;
export const canvasOf = (id: string) => $<HTMLCanvasElement>(id);
export const inputOf = (id: string) => $<HTMLInputElement>(id);

export const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/** Gives a canvas as many pixels as the screen shows of it, now and whenever that changes. */
export function fitToScreen(canvas: HTMLCanvasElement, redraw: () => void) {
  new ResizeObserver(() => {
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width === width && canvas.height === height) return;
    Object.assign(canvas, { width, height });
    redraw();
  }).observe(canvas);
}

/** Runs `work` with the newest argument only: those that come while it is busy replace one another. */
export function newestOnly<T>(work: (argument: T) => Promise<void>): (argument: T) => Promise<void> {
  let waiting: T | undefined;
  let running: Promise<void> | undefined;
  return (argument) => {
    waiting = argument;
    running ??= (async () => {
      while (waiting !== undefined) {
        const next = waiting;
        waiting = undefined;
        await work(next);
      }
    })().finally(() => (running = undefined));
    return running;
  };
}

/** Says something to those who listen to the page in place of seeing it. */
export const say = (text: string) => ($("said").textContent = text);

/** A button of the strip or the stages, with a small canvas in it. */
export function pictureButton(side: number, label: string): { button: HTMLButtonElement; canvas: HTMLCanvasElement } {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  button.append(canvas);
  button.setAttribute("aria-label", label);
  return { button, canvas };
}
