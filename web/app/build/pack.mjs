// Replaces what compresses well in ../dist by its gzip form, which the server sends as it is: the program that embeds it stays small. The
// empty .gitkeep lets Go embed the folder before it is built.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const dist = new URL("../../dist", import.meta.url).pathname;
const packed = /\.(html|js|css|json|jsonl|svg|wasm|model)$/;

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (entry.isFile() && packed.test(entry.name)) {
    writeFileSync(path + ".gz", gzipSync(readFileSync(path), { level: 9 }));
    rmSync(path);
  }
}
writeFileSync(join(dist, ".gitkeep"), "");
