/** Numbers: samples of the prior, ways between two encodings, z as text. */

/** z ~ p(z) = N(0, I), by Box and Muller. */
export function sampleNormal(size: number, random: () => number = Math.random): Float32Array {
  return Float32Array.from({ length: size }, () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

export const straight = (a: Float32Array, b: Float32Array, t: number): Float32Array => a.map((x, i) => (1 - t) * x + t * b[i]);

/** (sin((1 - t) w) a + sin(t w) b) / sin(w), where w is the angle between the two; straight where there is none. */
export function spherical(a: Float32Array, b: Float32Array, t: number): Float32Array {
  const dot = (u: Float32Array, v: Float32Array) => u.reduce((sum, x, i) => sum + x * v[i], 0);
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  if (!(Math.sin(angle) > 1e-3)) return straight(a, b, t);
  return a.map((x, i) => (Math.sin((1 - t) * angle) * x + Math.sin(t * angle) * b[i]) / Math.sin(angle));
}

/** Float32 numbers as base64 that may stand in an address. */
export function toText(z: Float32Array): string {
  const bytes = String.fromCharCode(...new Uint8Array(z.buffer, z.byteOffset, z.byteLength));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The numbers that `toText` wrote, if the text is that of `size` finite ones. */
export function fromText(text: string, size: number): Float32Array | undefined {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const z = new Float32Array(bytes.buffer);
    return z.length === size && z.every(Number.isFinite) ? z : undefined;
  } catch {
    return undefined;
  }
}

/** Share of the pixels where E[x] rounds to the wrong value; for colours the mean of |E[x] - x|. */
export function pixelError(mean: Float32Array, x: Float32Array, binary: boolean): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += binary ? Number(mean[i] >= 0.5 !== x[i] >= 0.5) : Math.abs(mean[i] - x[i]);
  return sum / x.length;
}

/** log p(x|z) of binary pixels in nats, from the logits, which are the first of each cell's numbers. */
export function logProbability(cells: Float32Array, cellSize: number, x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const signed = (1 - 2 * x[i]) * cells[i * cellSize];
    sum -= Math.max(signed, 0) + Math.log1p(Math.exp(-Math.abs(signed)));
  }
  return sum;
}
