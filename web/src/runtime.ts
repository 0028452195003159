/** The worker that runs the graphs, as functions that return promises; and a model loaded into it. */
import { Failure } from "./failure";
import { fetchGraph, fetchManifest, fetchUnpacked, type Manifest } from "./loading";

export interface Tensor {
  data: Float32Array;
  dims: number[];
}

export interface Request {
  id: number;
  kind: string;
  argument: unknown;
}

export type Progress = (done: number, total: number) => void;

declare const RUNTIME_BYTES: number; // of ort.wasm.gz, from the build

export class Runtime {
  private worker = new Worker("worker.js", { type: "module" });
  private waiting = new Map<number, { resolve: (value: any) => void; reject: (error: Failure) => void }>();
  private count = 0;

  constructor() {
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id)!;
      this.waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Failure(`The browser could not run the model (${error}).`));
    };
    this.worker.onerror = () => {
      const failure = new Failure("The file worker.js is missing or damaged; build the page again: make web.");
      for (const { reject } of this.waiting.values()) reject(failure);
    };
  }

  call<T>(kind: string, argument: unknown, transfer: Transferable[] = []): Promise<T> {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, kind, argument } satisfies Request, transfer);
    });
  }
}

/** onnxruntime's WebAssembly and a first model, in one progress. */
export async function startRuntime(folder: string, kind: Manifest["model"], progress: Progress) {
  const runtime = new Runtime();
  const manifest = await fetchManifest(folder, kind);
  const total = RUNTIME_BYTES + bytesOf(manifest);
  let done = 0;
  const heard = (bytes: number) => progress((done += bytes), total);
  const [wasm, graphs] = await Promise.all([fetchUnpacked("ort.wasm.gz", heard), fetchGraphs(folder, manifest, heard)]);
  await runtime.call("start", { wasm }, [wasm]);
  return { runtime, model: await Model.load(runtime, folder, manifest, graphs) };
}

const bytesOf = (manifest: Manifest) => Object.values(manifest.graphs).reduce((sum, graph) => sum + graph.bytes, 0);

function fetchGraphs(folder: string, manifest: Manifest, heard: (bytes: number) => void) {
  const entries = Object.entries(manifest.graphs);
  return Promise.all(entries.map(async ([name, graph]) => [name, await fetchGraph(folder, name, graph, heard)] as const));
}

export class Model {
  readonly imageSize: number;
  readonly channels: number;
  readonly latentSize: number;
  readonly binary: boolean;

  private constructor(
    readonly runtime: Runtime,
    readonly name: string,
    readonly manifest: Manifest,
  ) {
    this.imageSize = manifest.sizes.image_size;
    this.channels = manifest.sizes.image_channels;
    this.latentSize = manifest.sizes.latent_size;
    this.binary = manifest.likelihood === "Bernoulli" && this.channels === 1;
  }

  static async fetch(runtime: Runtime, folder: string, kind: Manifest["model"]) {
    const manifest = await fetchManifest(folder, kind);
    return Model.load(runtime, folder, manifest, await fetchGraphs(folder, manifest, () => {}));
  }

  static async load(runtime: Runtime, folder: string, manifest: Manifest, graphs: (readonly [string, ArrayBuffer])[]) {
    for (const [name, graph] of graphs) await runtime.call("load", { name: `${folder}/${name}`, graph }, [graph]);
    return new Model(runtime, folder, manifest);
  }

  /** The mean of q(z|x). */
  async encode(x: Float32Array): Promise<Float32Array> {
    const dims = [1, this.imageSize, this.imageSize, this.channels];
    return (await this.run("encoder", { x: { data: x, dims } })).mean.data;
  }

  /** E[x], as the cells show it. */
  async mean(cells: Tensor): Promise<Float32Array> {
    return (await this.run("mean", { cells })).mean.data;
  }

  /** z in each cell of a square grid. */
  seed(z: Float32Array, side: number): Tensor {
    const data = new Float32Array(side * side * z.length);
    for (let i = 0; i < side * side; i++) data.set(z, i * z.length);
    return { data, dims: [1, side, side, z.length] };
  }

  private run(graph: string, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
    return this.runtime.call("run", { graph: `${this.name}/${graph}`, feeds });
  }
}
