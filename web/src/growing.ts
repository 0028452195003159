/** The page's second part: growth by doubling, and the way from one encoding to another. */
import type { Digits } from "./digits";
import { sampleNormal, spherical, straight } from "./numbers";
import { $, canvasOf, fitToScreen, inputOf, newestOnly, pictureButton, say, stillness } from "./page";
import { ofMean, paint } from "./picture";
import type { Model, Tensor } from "./runtime";

const SECONDS = 3.5; // that a growth takes to play

export class Growing {
  private ends: Float32Array[] = [];
  private shown: Float32Array = new Float32Array();
  private playing = 0; // the newest growth that is played
  private readonly stages: number;
  private readonly perStage: number;
  private buttons: { button: HTMLButtonElement; canvas: HTMLCanvasElement }[];

  constructor(
    readonly model: Model,
    private digits: Digits,
    private onFailure: (error: unknown) => void,
  ) {
    const { num_doublings: doublings, steps_per_doubling: perStage } = model.manifest.sizes;
    this.stages = doublings + 1;
    this.perStage = perStage;
    this.buttons = Array.from({ length: this.stages }, (_, k) => {
      const side = 2 << k;
      const entry = pictureButton(96, `Play the growth from ${side} by ${side} cells`);
      entry.button.append(`${side}×${side}`);
      entry.button.addEventListener("click", () => this.attempt(this.play(k)));
      return entry;
    });
    $("stages").replaceChildren(...this.buttons.map(({ button }) => button));
    fitToScreen(canvasOf("grown"), () => this.redraw());
    const update = newestOnly((z: Float32Array) => this.show(z));
    const changed = () => {
      this.playing++;
      update(this.z).catch(this.onFailure);
    };
    inputOf("way").addEventListener("input", changed);
    for (const radio of document.querySelectorAll("input[name=path]")) radio.addEventListener("change", changed);
    $("grow").addEventListener("click", () => this.attempt(this.play(0)));
    $("pair").addEventListener("click", () => this.attempt(this.pair()));
  }

  /** Two other digits, and the growth of the first. */
  async pair() {
    const { images } = this.digits;
    const first = Math.floor(Math.random() * images.length);
    const second = (first + 1 + Math.floor(Math.random() * (images.length - 1))) % images.length;
    const encode = (i: number) => (this.model.binary ? this.model.encode(images[i]) : sampleNormal(this.model.latentSize));
    this.ends = [await encode(first), await encode(second)];
    inputOf("way").value = "0";
    for (const [i, id] of ["end-a", "end-b"].entries()) {
      const pictures = await this.grown(this.ends[i], false);
      paint(canvasOf(id), this.model.imageSize, ofMean(pictures.at(-1)![0].data, this.model.channels));
    }
    await this.show(this.ends[0]);
    if (!stillness.matches) await this.play(0);
  }

  get z(): Float32Array {
    const path = document.querySelector<HTMLInputElement>("input[name=path]:checked")!.value;
    return (path === "straight" ? straight : spherical)(this.ends[0], this.ends[1], inputOf("way").valueAsNumber);
  }

  /** The last picture of z, and those at the end of each stage. */
  async show(z: Float32Array) {
    const pictures = await this.grown(z, false);
    pictures.forEach(([{ data }], k) => paint(this.buttons[k].canvas, 2 << k, ofMean(data, this.model.channels)));
    this.draw(pictures.at(-1)![0].data, this.stages - 1);
  }

  private async play(from: number) {
    const turn = ++this.playing;
    const pictures = await this.grown(this.z, true);
    const pause = (1000 * SECONDS) / (this.stages * (this.perStage + 1));
    for (let k = from; k < this.stages; k++)
      for (const { data } of pictures[k]) {
        if (turn !== this.playing) return;
        this.draw(data, k);
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    say(`Grown to ${2 << (this.stages - 1)} by ${2 << (this.stages - 1)} cells.`);
  }

  private grown(z: Float32Array, all: boolean): Promise<Tensor[][]> {
    const { model, stages, perStage } = this;
    return model.runtime.call("grow", { model: model.name, seed: model.seed(z, 2), stages, perStage, all });
  }

  private draw(mean: Float32Array, stage: number) {
    this.shown = mean;
    $("scale").textContent = `${2 << stage}×${2 << stage}`;
    this.buttons.forEach(({ button }, k) => button.setAttribute("aria-pressed", String(k === stage)));
    this.redraw();
  }

  private redraw() {
    const side = Math.sqrt(this.shown.length / this.model.channels);
    if (side) paint(canvasOf("grown"), side, ofMean(this.shown, this.model.channels));
  }

  private attempt(work: Promise<unknown>) {
    work.catch(this.onFailure);
  }
}
