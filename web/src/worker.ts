/** Runs the graphs, beside the page's own thread, so that pictures and pointers stay smooth on slow machines. */
import * as ort from "onnxruntime-web/wasm";
import type { Request, Tensor } from "./runtime";

const sessions = new Map<string, ort.InferenceSession>();

async function run(graph: string, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = sessions.get(graph)!;
  const given = Object.fromEntries(Object.entries(feeds).map(([name, { data, dims }]) => [name, new ort.Tensor(data, dims)]));
  const found = await session.run(given);
  return Object.fromEntries(
    Object.entries(found).map(([name, { data, dims }]) => [name, { data: data as Float32Array, dims: [...dims] }]),
  );
}

const cellsOf = async (graph: string, cells: Tensor, more: Record<string, Tensor> = {}): Promise<Tensor> =>
  Object.values(await run(graph, { cells, ...more }))[0];

/** So many steps; where cells are updated at random, each is with probability `p`. */
async function steps(graph: string, cells: Tensor, count: number, p: number): Promise<Tensor> {
  const [, h, w] = cells.dims;
  for (let i = 0; i < count; i++) {
    const updated = { data: Float32Array.from({ length: h * w }, () => Number(Math.random() < p)), dims: [1, h, w, 1] };
    cells = await cellsOf(graph, cells, p < 1 ? { updated } : {});
  }
  return cells;
}

const handlers = {
  async start({ wasm }: { wasm: ArrayBuffer }) {
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // more would need the headers COOP and COEP, which static hosts do not send
  },

  async load({ name, graph }: { name: string; graph: ArrayBuffer }) {
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" } as const;
    sessions.set(name, await ort.InferenceSession.create(graph, options));
  },

  async run({ graph, feeds }: { graph: string; feeds: Record<string, Tensor> }) {
    return run(graph, feeds);
  },

  async steps({ model, cells, count, p }: { model: string; cells: Tensor; count: number; p: number }) {
    return steps(`${model}/step`, cells, count, p);
  },

  /** E[x] at all times of a doubling growth, or only at the end of each stage; the last stage's cells with them. */
  async grow({ model, seed, stages, perStage, all }: { model: string; seed: Tensor; stages: number; perStage: number; all: boolean }) {
    const pictures: Tensor[][] = [];
    let cells = seed;
    for (let k = 0; k < stages; k++) {
      if (k) cells = await cellsOf(`${model}/double`, cells);
      const step = sessions.has(`${model}/step`) ? `${model}/step` : `${model}/step_${k}`;
      const stage = all ? [await cellsOf(`${model}/mean`, cells)] : [];
      for (let i = 0; i < perStage; i++) {
        cells = await cellsOf(step, cells);
        if (all || i === perStage - 1) stage.push(await cellsOf(`${model}/mean`, cells));
      }
      pictures.push(stage);
    }
    return pictures;
  },
};

self.onmessage = async ({ data: { id, kind, argument } }: MessageEvent<Request>) => {
  try {
    const handler = handlers[kind as keyof typeof handlers] as (argument: unknown) => Promise<unknown>;
    self.postMessage({ id, result: await handler(argument) });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
