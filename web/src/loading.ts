/** Files of this site: fetched with progress, unpacked, and held against the sizes and checksums in the manifest. */
import { Failure } from "./failure";

export interface Graph {
  bytes: number;
  sha256: string;
  inputs: Record<string, (number | string)[]>;
  outputs: string[];
}

export interface Components {
  mean: number[];
  directions: number[][];
  low: number[];
  high: number[];
}

export interface Manifest {
  format: string;
  model: "NonDoublingVNCA" | "DoublingVNCA" | "ConvVAE";
  sizes: Record<string, number>;
  likelihood: string;
  storage: string;
  graphs: Record<string, Graph>;
  components: Components;
  dataset: string | null;
  step: number | null;
  results: {
    training_seconds?: number;
    evaluation?: {
      terms: { iwelbo: { nats: [number, number] } };
      num_samples: number;
      num_images: number;
    };
  };
}

const FORMAT = "vnca_jax onnx 1";

async function fetched(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new Failure(`The file ${url} could not be fetched; look at the connection and load the page again.`);
  }
  const name = url.split("?")[0];
  if (!response.ok) throw new Failure(`The file ${name} is missing (${response.status}); build the page again: make web.`);
  return response;
}

/** The bytes of a file; `progress` hears of each piece that arrives. */
export async function fetchBytes(url: string, progress: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetched(url);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  try {
    for (const reader = response.body!.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      progress(value.length);
    }
  } catch {
    throw new Failure(`The file ${url.split("?")[0]} broke off on its way; load the page again.`);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** What a .gz file holds. Some servers unpack it on the way, so what has no gzip header is taken as it is. */
export async function fetchUnpacked(url: string, progress: (bytes: number) => void): Promise<ArrayBuffer> {
  const bytes = await fetchBytes(url, progress);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  try {
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(unpacked).arrayBuffer();
  } catch {
    throw new Failure(`The file ${url} is damaged; load the page again, or build it again: make web.`);
  }
}

export async function fetchManifest(folder: string, model: Manifest["model"]): Promise<Manifest> {
  const url = `${folder}/manifest.json`;
  const response = await fetched(url);
  let manifest: Manifest;
  try {
    manifest = await response.json();
  } catch {
    throw new Failure(`The file ${url} is damaged; build the page again: make web.`);
  }
  if (manifest?.format !== FORMAT) throw new Failure(`The file ${url} is no manifest of vnca_jax.onnx; export the model again.`);
  if (manifest.model !== model) throw new Failure(`${folder} holds a ${manifest.model}, where this part of the page needs a ${model}.`);
  return manifest;
}

/** A graph of a model, whose size and checksum are those of the manifest. */
export async function fetchGraph(folder: string, name: string, graph: Graph, progress: (bytes: number) => void) {
  const url = `${folder}/${name}.onnx`;
  // The query keeps a browser from taking an older model's file out of its cache.
  const bytes = await fetchBytes(`${url}?${graph.sha256.slice(0, 8)}`, progress);
  if (bytes.length !== graph.bytes || ((await sha256(bytes)) ?? graph.sha256) !== graph.sha256)
    throw new Failure(`The file ${url} is damaged: it is not the one in the manifest; load the page again, or export the model again.`);
  return bytes.buffer;
}

/** Undefined where the browser has no SubtleCrypto: on plain http, other than loopback. */
async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  if (!globalThis.crypto?.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
