/** Serves a folder on loopback, as any static host would: `node serve.mjs [FOLDER] [PORT]`. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml" };

/** The server, listening on `port`, or on a free one for 0. */
export function serve(folder, port = 0) {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const file = join(folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    try {
      const content = await readFile(file);
      const type = TYPES[extname(file)] ?? "application/octet-stream";
      response.writeHead(200, { "content-type": type, "content-length": content.length, "cache-control": "no-cache" });
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve, reject) => server.on("error", reject).listen(port, "127.0.0.1", () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder = "../site", port = "8000"] = process.argv.slice(2);
  const server = await serve(folder, Number(port)).catch((error) => {
    console.error(`Port ${port} cannot be used (${error.code}); give another one: make web-serve PORT=8001`);
    process.exit(1);
  });
  console.log(`The page is at http://127.0.0.1:${server.address().port}/ until Ctrl-C.`);
}
