/** The living, non-doubling automaton: its cells, its steps, its wounds and how wrong it has been. Knows no page. */
import { logProbability, pixelError } from "./numbers";
import type { Model, Tensor } from "./runtime";

export type Damage = "brush" | "square" | "half";

export interface Moment {
  error: number;
  damage?: Damage;
  born?: boolean;
}

const REMEMBERED = 240; // moments of the curve
const FADING = 0.7; // of what is left of a wound's mark, a step
const FAINTEST = 0.02;

export class Automaton {
  z!: Float32Array;
  x!: Float32Array; // what it should show
  target!: Float32Array; // x as a picture: for a sample, E[x] of its growth without wounds, which x rounds
  cells!: Tensor;
  mean!: Float32Array; // E[x] of these cells
  age = 0; // steps since the seed
  readonly wounds: Float32Array; // 1 where cells were just erased, fading
  readonly history: Moment[] = [];
  readonly side: number;
  readonly usualSteps: number; // T
  private queue = Promise.resolve();
  private generation = 0;

  constructor(readonly model: Model) {
    this.side = model.imageSize;
    this.usualSteps = model.manifest.sizes.num_steps;
    this.wounds = new Float32Array(this.side ** 2);
  }

  /** Starts again from z in each cell. x is the `given` one, else what grows from z by itself. */
  start(z: Float32Array, given?: Float32Array): Promise<void> {
    const generation = ++this.generation;
    return this.enqueue(async () => {
      if (generation !== this.generation) return;
      const seed = this.model.seed(z, this.side);
      const target = given ?? (await this.model.mean(await this.advanced(seed, this.usualSteps)));
      const x = this.model.binary ? target.map((p) => Number(p >= 0.5)) : target;
      const mean = await this.model.mean(seed);
      Object.assign(this, { z, x, target, cells: seed, mean, age: 0 });
      this.wounds.fill(0);
      this.remember({ error: this.error, born: true });
    });
  }

  /** So many steps; wounds that fall while they are computed are there afterwards. */
  step(count = 1): Promise<void> {
    return this.enqueue(async () => {
      for (let left = count; left > 0; left--) {
        this.wounds.forEach((wound, i) => (this.wounds[i] = Math.min(wound, 1)));
        const after = await this.advanced(this.cells, 1);
        for (let i = 0; i < this.wounds.length; i++) {
          if (this.wounds[i] > 1) this.erase(after, i); // it fell while the worker was at the step
          this.wounds[i] = this.wounds[i] > 1 ? 1 : this.wounds[i] * FADING > FAINTEST ? this.wounds[i] * FADING : 0;
        }
        this.cells = after;
        this.age++;
        this.mean = await this.model.mean(after);
        this.remember({ error: this.error });
      }
    });
  }

  /** Sets the cells for which `where(row, column)` holds to zero. */
  async damage(kind: Damage, where: (row: number, column: number) => boolean): Promise<void> {
    for (let i = 0; i < this.wounds.length; i++) {
      if (!where(Math.floor(i / this.side), i % this.side)) continue;
      this.erase(this.cells, i);
      this.wounds[i] = 2;
    }
    const last = this.history.at(-1);
    if (last && last.damage !== "half") last.damage = kind;
    await this.enqueue(async () => {
      this.mean = await this.model.mean(this.cells);
      for (let i = 0; i < this.wounds.length; i++) this.wounds[i] = Math.min(this.wounds[i], 1);
      const last = this.history.at(-1);
      if (last) last.error = this.error;
    });
  }

  /** The paper's random damage: half the height and width, uniform over all places. */
  damageSquare(random: () => number = Math.random): Promise<void> {
    const size = this.side >> 1;
    const [top, left] = [0, 0].map(() => Math.floor(random() * (this.side - size + 1)));
    return this.damage("square", (row, column) => row >= top && row < top + size && column >= left && column < left + size);
  }

  damageRightHalf(): Promise<void> {
    return this.damage("half", (_, column) => column >= this.side >> 1);
  }

  damageDisc(row: number, column: number, radius: number): Promise<void> {
    return this.damage("brush", (i, j) => (i - row) ** 2 + (j - column) ** 2 <= radius ** 2);
  }

  get error(): number {
    return pixelError(this.mean, this.x, this.model.binary);
  }

  get logProbability(): number | undefined {
    return this.model.binary ? logProbability(this.cells.data, this.model.latentSize, this.x) : undefined;
  }

  private advanced(cells: Tensor, count: number): Promise<Tensor> {
    const p = this.model.manifest.sizes.update_probability ?? 1;
    return this.model.runtime.call("steps", { model: this.model.name, cells, count, p });
  }

  private erase(cells: Tensor, i: number) {
    const size = this.model.latentSize;
    cells.data.fill(0, i * size, (i + 1) * size);
  }

  private remember(moment: Moment) {
    this.history.push(moment);
    if (this.history.length > REMEMBERED) this.history.shift();
  }

  /** One after the other, so that no step starts from cells that another one is about to replace. */
  private enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.queue.then(work);
    this.queue = done.catch(() => {});
    return done;
  }
}
