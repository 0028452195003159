/** Builds the page into a folder: `node build.mjs [FOLDER]`, by default ../site. The models are exported beside it. */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const out = process.argv[2] ?? "../site";
const WASM = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";

await mkdir(out, { recursive: true });
const runtime = gzipSync(await readFile(WASM), { level: 9 });
await writeFile(`${out}/ort.wasm.gz`, runtime);
for (const file of ["index.html", "style.css", "icon.svg"]) await cp(`src/${file}`, `${out}/${file}`);

const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env;
const repository = process.env.REPOSITORY ?? (server && name ? `${server}/${name}` : "");
await build({
  entryPoints: ["src/main.ts", "src/worker.ts"],
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  define: { RUNTIME_BYTES: String(runtime.length), REPOSITORY: JSON.stringify(repository) },
  logLevel: "warning",
});
