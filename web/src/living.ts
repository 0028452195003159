/** The page's first part: the living automaton, its controls, its wounds and what it starts from. */
import { Automaton } from "./automaton";
import { drawCurve } from "./curve";
import { Demonstration } from "./demonstration";
import type { Digits } from "./digits";
import { fromText, sampleNormal, toText } from "./numbers";
import { drawStrokes, rasterize, type Point, type Strokes } from "./pad";
import { $, canvasOf, fitToScreen, inputOf, pictureButton, say, stillness } from "./page";
import { LIGHT, ofChannel, ofComponents, ofMean, paint } from "./picture";
import type { Model } from "./runtime";

const STEPS_A_FRAME = 4;

export class Living {
  readonly automaton: Automaton;
  private playing = false;
  private visible = true;
  private due = 0; // steps that should have been taken by now
  private last = 0; // time of the frame before
  private busy = false;
  private strokes: Strokes = [];
  private eraser = { row: 0, column: 0 };
  private demonstration: Demonstration;
  private cells = canvasOf("cells");
  private pad = canvasOf("pad");

  constructor(
    private model: Model,
    private digits: Digits,
    private onFailure: (error: unknown) => void,
  ) {
    this.automaton = new Automaton(model);
    this.demonstration = new Demonstration(this);
    this.bindTransport();
    this.bindEraser();
    this.bindStrip();
    this.bindPad();
    this.bindViews();
    this.bindKeys();
    fitToScreen(this.cells, () => this.draw());
    fitToScreen(canvasOf("curve"), () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new IntersectionObserver(([entry]) => (this.visible = entry.isIntersecting)).observe(this.cells);
    requestAnimationFrame((now) => this.frame(now));
  }

  /** The z in the address, else a digit of the strip; it grows by itself, or is grown where nothing should move. */
  async begin() {
    const z = fromText(new URLSearchParams(location.hash.slice(1)).get("z") ?? "", this.model.latentSize);
    if (z) await this.start(z, undefined, "unhurt");
    else if (this.model.binary) await this.startDigit(Math.floor(this.digits.images.length / 3));
    else await this.sample();
    if (!z && !stillness.matches) this.demonstration.begin();
  }

  async startDigit(i: number) {
    this.mark(i);
    await this.startImage(this.digits.images[i]);
  }

  async start(z: Float32Array, x: Float32Array | undefined, label: string) {
    await this.automaton.start(z, x);
    $("target-label").textContent = label;
    paint(canvasOf("target"), this.automaton.side, ofMean(this.automaton.target, this.model.channels));
    drawLatent(canvasOf("latent"), z);
    if (stillness.matches) await this.automaton.step(this.automaton.usualSteps);
    else this.play(true);
    this.draw();
  }

  play(playing: boolean) {
    this.playing = playing;
    this.due = 0;
    $("play").setAttribute("aria-pressed", String(playing));
    $("play").querySelector("span")!.textContent = playing ? "Pause" : "Play";
  }

  /** Erases a disc where the eraser is, in cells. */
  erase(row: number, column: number) {
    this.attempt(this.automaton.damageDisc(row, column, this.radius));
    this.draw();
  }

  showEraser(row: number, column: number, seen: boolean, down = false) {
    const ring = $("ring");
    const pixels = this.cells.clientWidth / this.automaton.side;
    const diameter = (2 * this.radius + 1) * pixels;
    ring.style.width = ring.style.height = `${diameter}px`;
    ring.style.transform = `translate(${(column + 0.5) * pixels - diameter / 2}px, ${(row + 0.5) * pixels - diameter / 2}px)`;
    ring.classList.toggle("seen", seen);
    ring.classList.toggle("down", down);
  }

  get digitCount() {
    return this.digits.images.length;
  }

  private get radius() {
    return inputOf("brush").valueAsNumber;
  }

  private get view() {
    return document.querySelector<HTMLInputElement>("input[name=view]:checked")!.value;
  }

  private attempt(work: Promise<unknown>) {
    work.then(() => this.draw(), this.onFailure);
  }

  private async startImage(x: Float32Array) {
    await this.start(await this.model.encode(x), x, "should be");
  }

  private async sample() {
    this.mark(-1);
    await this.start(sampleNormal(this.model.latentSize), undefined, "unhurt");
  }

  private regrow() {
    return this.start(this.automaton.z, this.automaton.target, $("target-label").textContent!);
  }

  private draw() {
    const { automaton, model } = this;
    if (!automaton.cells) return;
    const colour = {
      image: () => ofMean(automaton.mean, model.channels),
      components: () => ofComponents(automaton.cells, model.manifest.components),
      channel: () => ofChannel(automaton.cells, inputOf("channel").valueAsNumber),
    }[this.view]!();
    paint(this.cells, automaton.side, colour, automaton.wounds);
    drawCurve(canvasOf("curve"), automaton.history, automaton.age);
    $("age").textContent = `t = ${automaton.age}`;
    $("error").textContent = `${(100 * automaton.error).toFixed(1)} %`;
    $("nats").textContent = automaton.logProbability?.toFixed(0).replace("-", "−") ?? "–";
  }

  private frame(now: number) {
    const elapsed = Math.min(0.25, (now - this.last) / 1000);
    this.last = now;
    if (this.playing && this.visible && this.automaton.cells) {
      this.due = Math.min(STEPS_A_FRAME, this.due + elapsed * inputOf("speed").valueAsNumber);
      if (this.due >= 1 && !this.busy) {
        const count = Math.floor(this.due);
        this.due -= count;
        this.busy = true;
        const done = this.automaton.step(count).finally(() => (this.busy = false));
        this.attempt(done);
      }
    }
    requestAnimationFrame((next) => this.frame(next));
  }

  private mark(chosen: number) {
    $("strip").querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
  }

  private bindTransport() {
    const speed = inputOf("speed");
    speed.addEventListener("input", () => ($("speed-value").textContent = `${speed.value}/s`));
    $("play").addEventListener("click", () => this.play(!this.playing));
    $("step").addEventListener("click", () => this.stepOnce());
    $("regrow").addEventListener("click", () => this.attempt(this.regrow()));
    $("square").addEventListener("click", () => this.attempt(this.automaton.damageSquare()));
    $("half").addEventListener("click", () => this.attempt(this.automaton.damageRightHalf()));
    $("link").addEventListener("click", async () => {
      const address = `${location.href.split("#")[0]}#z=${toText(this.automaton.z)}`;
      history.replaceState(null, "", address);
      await navigator.clipboard?.writeText(address).catch(() => {});
      $("link").textContent = "Copied; it is in the address too";
      say("The link is copied.");
    });
  }

  private stepOnce() {
    this.play(false);
    this.attempt(this.automaton.step());
  }

  private bindEraser() {
    const { cells, eraser } = this;
    const brush = inputOf("brush");
    brush.addEventListener("input", () => {
      $("brush-value").textContent = `${2 * this.radius} wide`;
      this.showEraser(this.automaton.side / 2, this.automaton.side / 2, true);
    });
    brush.addEventListener("change", () => this.showEraser(0, 0, false));
    let down = false;
    const move = (event: PointerEvent) => {
      const from = { ...eraser };
      const box = cells.getBoundingClientRect();
      eraser.row = ((event.clientY - box.top) / box.height) * this.automaton.side - 0.5;
      eraser.column = ((event.clientX - box.left) / box.width) * this.automaton.side - 0.5;
      this.showEraser(eraser.row, eraser.column, down || event.pointerType === "mouse", down);
      if (!down) return;
      const length = Math.hypot(eraser.row - from.row, eraser.column - from.column);
      const pieces = event.type === "pointerdown" ? 1 : Math.max(1, Math.ceil(length)); // a quick stroke has no gaps
      for (let k = 1; k <= pieces; k++) {
        const part = k / pieces;
        this.erase(from.row + (eraser.row - from.row) * part, from.column + (eraser.column - from.column) * part);
      }
    };
    cells.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      down = true;
      cells.setPointerCapture(event.pointerId);
      [eraser.row, eraser.column] = [0, 0];
      const box = cells.getBoundingClientRect();
      eraser.row = ((event.clientY - box.top) / box.height) * this.automaton.side - 0.5;
      eraser.column = ((event.clientX - box.left) / box.width) * this.automaton.side - 0.5;
      move(event);
    });
    cells.addEventListener("pointermove", move);
    const up = (event: PointerEvent) => {
      down = false;
      this.showEraser(eraser.row, eraser.column, event.type === "pointerup" && event.pointerType === "mouse");
    };
    for (const kind of ["pointerup", "pointercancel", "pointerleave"] as const) cells.addEventListener(kind, up);
    cells.addEventListener("keydown", (event) => this.eraseByKey(event));
    cells.addEventListener("blur", () => this.showEraser(0, 0, false));
  }

  private eraseByKey(event: KeyboardEvent) {
    const { eraser } = this;
    const ways: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const way = ways[event.key];
    if (!way && event.key !== "Enter") return;
    event.preventDefault();
    const within = (place: number) => Math.max(0, Math.min(this.automaton.side - 1, Math.round(place)));
    [eraser.row, eraser.column] = [within(eraser.row + (way?.[0] ?? 0)), within(eraser.column + (way?.[1] ?? 0))];
    this.showEraser(eraser.row, eraser.column, true, !way);
    if (!way) this.erase(eraser.row, eraser.column);
  }

  private bindStrip() {
    $("strip-label").textContent = this.digits.label;
    const side = this.automaton.side;
    if (this.model.binary) {
      const buttons = this.digits.images.map((x, i) => {
        const { button, canvas } = pictureButton(side, `Digit ${i + 1} of ${this.digitCount}`);
        paint(canvas, side, ofMean(x, 1));
        button.addEventListener("click", () => this.attempt(this.startDigit(i)));
        return button;
      });
      $("strip").replaceChildren(...buttons);
    } else for (const id of ["strip", "strip-label"]) $(id).hidden = true;
    $("sample").addEventListener("click", () => this.attempt(this.sample()));
  }

  private bindPad() {
    const { pad } = this;
    if (!this.model.binary) return void ($("draw-card").hidden = true);
    const context = pad.getContext("2d")!;
    const pointOf = (event: PointerEvent): Point => {
      const box = pad.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const redraw = () => {
      context.clearRect(0, 0, pad.width, pad.height);
      drawStrokes(context, this.strokes, pad.width, `rgb(${LIGHT.join(" ")})`);
      $<HTMLButtonElement>("clear").disabled = !this.strokes.length;
      $("pad-hint").hidden = this.strokes.length > 0;
    };
    let drawing = false;
    pad.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drawing = true;
      pad.setPointerCapture(event.pointerId);
      this.strokes.push([pointOf(event)]);
      redraw();
    });
    pad.addEventListener("pointermove", (event) => {
      if (!drawing) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.strokes.at(-1)!.push(pointOf(each));
      redraw();
    });
    for (const kind of ["pointerup", "pointercancel"] as const)
      pad.addEventListener(kind, () => {
        if (!drawing) return;
        drawing = false;
        this.mark(-1);
        this.attempt(this.startImage(rasterize(this.strokes, this.automaton.side)));
      });
    $("clear").addEventListener("click", () => {
      this.strokes = [];
      redraw();
    });
  }

  private bindViews() {
    const channel = inputOf("channel");
    channel.max = String(this.model.latentSize - 1);
    const show = () => {
      channel.disabled = this.view !== "channel";
      $("channel-value").textContent = String(channel.valueAsNumber + 1);
      this.draw();
    };
    for (const radio of document.querySelectorAll("input[name=view]")) radio.addEventListener("change", show);
    channel.addEventListener("input", show);
    show();
  }

  private bindKeys() {
    const keys: Record<string, () => void> = {
      " ": () => this.play(!this.playing),
      ".": () => this.stepOnce(),
      r: () => this.attempt(this.regrow()),
      s: () => this.attempt(this.sample()),
      h: () => this.attempt(this.automaton.damageRightHalf()),
      q: () => this.attempt(this.automaton.damageSquare()),
    };
    addEventListener("keydown", (event) => {
      const target = event.target as HTMLElement;
      const takesSpace = target.closest("button, input, a");
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || (event.key === " " && takesSpace)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}

function drawLatent(canvas: HTMLCanvasElement, z: Float32Array) {
  const context = canvas.getContext("2d")!;
  const { width, height } = canvas;
  const wide = width / z.length;
  context.clearRect(0, 0, width, height);
  z.forEach((value, i) => {
    const long = Math.max(2, (Math.min(3, Math.abs(value)) / 3) * (height / 2));
    context.fillStyle = value < 0 ? "#5a9bff" : "#ff9a3c";
    context.fillRect(i * wide + wide * 0.14, value < 0 ? height / 2 : height / 2 - long, wide * 0.72, long);
  });
}
