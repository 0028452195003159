/** The strip of digits to start from: test images that the build took from the data, else digits drawn by hand. */
import type { Manifest } from "./loading";
import { HAND_DRAWN, rasterize } from "./pad";

export interface Digits {
  label: string;
  images: Float32Array[];
}

/** Images of `size` x `size` binary pixels, with a border of zeros where the file's are smaller. */
export async function loadDigits(url: string, size: number): Promise<Digits> {
  try {
    const { source, side, images } = (await (await fetch(url)).json()) as { source: string; side: number; images: string[] };
    if (side > size) throw new Error("too large");
    return { label: source, images: images.map((text) => padded(unpacked(text, side), side, size)) };
  } catch {
    return { label: "Digits drawn by hand", images: HAND_DRAWN.map((strokes) => rasterize(strokes, size)) };
  }
}

/** Eight pixels a byte, the first one highest, in base64. */
function unpacked(text: string, side: number): Float32Array {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from({ length: side * side }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

/** In the middle of a larger square. */
export function padded(x: Float32Array, side: number, size: number): Float32Array {
  const border = (size - side) >> 1;
  const larger = new Float32Array(size * size);
  for (let row = 0; row < side; row++) larger.set(x.subarray(row * side, (row + 1) * side), (row + border) * size + border);
  return larger;
}

const NAMES: Record<string, string> = { binarized_mnist: "binarized MNIST", digits: "8×8 digits" };
const PAPER: Record<string, string> = { NonDoublingVNCA: "−90.97", DoublingVNCA: "−84.23" }; // nats, binarized MNIST

const minutes = (seconds: number) => (seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

/** The model, its training and its bound in one line, from its manifest. */
export function describe({ model, sizes, step, dataset, results }: Manifest, name: string): string {
  const parts = [`${name}: ${sizes.latent_size} numbers a cell`];
  const trained = step ? `${step.toLocaleString("en")} updates on ${NAMES[dataset ?? ""] ?? dataset ?? "unknown data"}` : "";
  const { evaluation, training_seconds: seconds } = results;
  if (trained) parts.push(trained + (seconds ? ` in ${minutes(seconds)}` : ""));
  if (evaluation) {
    const [nats, error] = evaluation.terms.iwelbo.nats;
    const over = `K = ${evaluation.num_samples}, ${evaluation.num_images.toLocaleString("en")} test images`;
    parts.push(`log p(x) ≥ ${nats.toFixed(1).replace("-", "−")} ± ${error.toFixed(1)} nats (${over})`);
    if (dataset === "binarized_mnist") parts.push(`the paper’s, larger and longer trained: ${PAPER[model]}`);
  }
  return parts.join(" · ");
}
