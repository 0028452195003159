/** Strokes of a pen, as a picture like MNIST's: fitted to a box of 20 of 28 pixels, its centre of mass in the middle. */

export type Point = [x: number, y: number]; // in sides of the pad, from its upper left corner
export type Strokes = Point[][];

const BOX = 20 / 28;
const PEN = 2.5 / 28;
const FINE = 8; // lines a pixel that a stroke is drawn with before it is averaged

/** Pixels 0 and 1, `size` x `size`. */
export function rasterize(strokes: Strokes, size: number): Float32Array {
  const points = strokes.flat();
  if (!points.length) return new Float32Array(size * size);
  const [left, right] = extent(points.map(([x]) => x));
  const [top, bottom] = extent(points.map(([, y]) => y));
  const scale = Math.min(4, (BOX - PEN) / Math.max(right - left, bottom - top, 1e-6));
  const place = ([x, y]: Point): Point => [0.5 + scale * (x - (left + right) / 2), 0.5 + scale * (y - (top + bottom) / 2)];
  const grey = average(strokes.map((stroke) => stroke.map(place)), size);
  return centred(grey, size).map((value) => Number(value > 0.5));
}

const extent = (values: number[]) => [Math.min(...values), Math.max(...values)];

function average(strokes: Strokes, size: number): Float32Array {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * FINE;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  drawStrokes(context, strokes, canvas.width, "#fff");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.width);
  const grey = new Float32Array(size * size);
  for (let i = 0; i < data.length / 4; i++) {
    const row = Math.floor(i / canvas.width / FINE);
    const column = Math.floor((i % canvas.width) / FINE);
    grey[row * size + column] += data[4 * i + 3] / 255 / FINE ** 2;
  }
  return grey;
}

/** Moved by whole pixels so that the centre of mass is in the middle. */
function centred(grey: Float32Array, size: number): Float32Array {
  const mass = grey.reduce((sum, value) => sum + value, 0) || 1;
  const centre = (place: (i: number) => number) => grey.reduce((sum, value, i) => sum + value * place(i), 0) / mass;
  const down = Math.round((size - 1) / 2 - centre((i) => Math.floor(i / size)));
  const along = Math.round((size - 1) / 2 - centre((i) => i % size));
  return grey.map((_, i) => {
    const [row, column] = [Math.floor(i / size) - down, (i % size) - along];
    return row >= 0 && row < size && column >= 0 && column < size ? grey[row * size + column] : 0;
  });
}

export function drawStrokes(context: CanvasRenderingContext2D, strokes: Strokes, side: number, colour: string) {
  context.strokeStyle = colour;
  context.lineWidth = PEN * side;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * side, y * side); // twice the first: a dot is one too
    context.stroke();
  }
}

/** Digits 0 to 9 drawn by hand, for a page that was built without the data: points "x y" in hundredths of a side. */
export const HAND_DRAWN: Strokes[] = [
  ["50 12, 32 22, 26 45, 29 70, 42 88, 57 87, 71 70, 74 45, 67 22, 50 12"],
  ["38 28, 52 14, 50 50, 49 88"],
  ["28 30, 38 15, 58 14, 68 28, 60 48, 40 68, 26 86, 50 84, 74 86"],
  ["30 18, 50 12, 66 22, 62 38, 46 47, 64 52, 70 68, 58 86, 40 88, 27 80"],
  ["36 14, 28 52, 70 52", "62 16, 60 50, 58 90"],
  ["68 14, 38 14, 34 44, 52 42, 68 54, 68 74, 52 88, 32 84"],
  ["62 12, 42 30, 31 58, 34 80, 50 89, 66 78, 64 60, 48 54, 34 64"],
  ["28 16, 70 16, 58 44, 46 88"],
  ["62 22, 48 13, 36 24, 42 42, 60 56, 66 74, 52 88, 36 80, 38 62, 56 46, 64 32, 62 22"],
  ["66 30, 52 14, 36 24, 36 42, 50 48, 66 34, 66 30, 64 60, 58 88"],
].map((strokes) =>
  strokes.map((stroke) => stroke.split(", ").map((point) => point.split(" ").map((value) => Number(value) / 100) as Point)),
);
