/** Arrays to pixels of a canvas, one square a cell. */
import type { Components } from "./loading";
import type { Tensor } from "./runtime";

export const DARK = [13, 16, 23];
export const LIGHT = [255, 247, 232];
const WOUND = [255, 99, 72];
const COLD = [64, 140, 255];
const WARM = [255, 150, 50];

const small = document.createElement("canvas");

const mix = (a: number[], b: number[], t: number) => a.map((from, i) => from + (b[i] - from) * t);

type Colour = (cell: number) => number[];

export const ofMean =
  (mean: Float32Array, channels: number): Colour =>
  (i) =>
    channels === 1 ? mix(DARK, LIGHT, mean[i]) : [0, 1, 2].map((k) => 255 * mean[channels * i + k]);

/** The three principal components of the cells of samples, as red, green and blue. */
export function ofComponents(cells: Tensor, { mean, directions, low, high }: Components): Colour {
  const size = mean.length;
  return (i) =>
    directions.map((direction, k) => {
      let sum = 0;
      for (let j = 0; j < size; j++) sum += direction[j] * (cells.data[i * size + j] - mean[j]);
      return (255 * (sum - low[k])) / (high[k] - low[k]);
    });
}

/** One of the numbers in each cell: zero is dark, below it blue, above it orange, as far as the largest at hand. */
export function ofChannel(cells: Tensor, channel: number): Colour {
  const size = cells.dims[3];
  let largest = 1e-6;
  for (let i = channel; i < cells.data.length; i += size) largest = Math.max(largest, Math.abs(cells.data[i]));
  return (i) => {
    const value = cells.data[i * size + channel] / largest;
    return mix(DARK, value < 0 ? COLD : WARM, Math.abs(value));
  };
}

/** Paints `side` x `side` cells over the whole canvas; `wounds` are tinted. */
export function paint(canvas: HTMLCanvasElement, side: number, colour: Colour, wounds?: Float32Array) {
  const picture = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    const rgb = wounds?.[i] ? mix(colour(i), WOUND, 0.55 * Math.min(1, wounds[i])) : colour(i);
    picture.data.set([...rgb, 255], 4 * i);
  }
  small.width = small.height = side;
  small.getContext("2d")!.putImageData(picture, 0, 0);
  const context = canvas.getContext("2d")!;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const pixels = canvas.width / side;
  if (pixels < 8) return;
  context.fillStyle = "rgba(13, 16, 23, 0.35)"; // lines between cells
  for (let k = 1; k < side; k++) {
    const at = Math.round(k * pixels);
    context.fillRect(at, 0, 1, canvas.height);
    context.fillRect(0, at, canvas.width, 1);
  }
}
