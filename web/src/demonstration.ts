/** Before a visitor touches anything, the page shows what can be done: it rubs out a digit, lets it heal, takes another. */
import type { Living } from "./living";

const STROKE = 900; // milliseconds of a stroke
const REST = 12; // steps that a grown digit is left alone

export class Demonstration {
  private stopped = false;

  constructor(private living: Living) {
    for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"])
      addEventListener(kind, () => this.stop(), { once: true, passive: true, capture: true });
  }

  async begin() {
    const { automaton } = this.living;
    for (let i = 0; !this.stopped; i++) {
      await this.until(automaton.usualSteps + REST);
      await this.stroke(i);
      await this.until(automaton.age + automaton.usualSteps + 2 * REST);
      if (!this.stopped && this.living.digitCount) await this.living.startDigit((7 * i + 11) % this.living.digitCount);
    }
  }

  private stop() {
    if (!this.stopped) this.living.showEraser(0, 0, false);
    this.stopped = true;
  }

  /** Across the digit, from one side to the other, rubbing back and forth. */
  private async stroke(i: number) {
    const side = this.living.automaton.side;
    const start = performance.now();
    while (!this.stopped) {
      const part = (performance.now() - start) / STROKE;
      if (part > 1) break;
      const across = i % 2 ? 1 - part : part;
      const row = side * (0.5 + 0.22 * Math.sin(part * 9));
      const column = side * (0.2 + 0.6 * across);
      this.living.showEraser(row, column, true, true);
      this.living.erase(row, column);
      await new Promise(requestAnimationFrame);
    }
    if (!this.stopped) this.living.showEraser(0, 0, false);
  }

  private async until(age: number) {
    while (!this.stopped && this.living.automaton.age < age) await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
