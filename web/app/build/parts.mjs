// Makes the part of the page that Vite does not bundle, in .build/public: the engine (cmd/page for GOOS=js, with the JavaScript that loads
// it). .build/parts.json tells where it and the zoo are: in folders named by a digest of their content, so that browsers may keep them.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

const root = new URL("../../..", import.meta.url).pathname;
const build = new URL("../.build", import.meta.url).pathname;

rmSync(join(build, "public"), { recursive: true, force: true });
mkdirSync(join(build, "public"), { recursive: true });
const guest = { at: "", files: { "guest.wasm": statSync(join(root, "wasm", "guest", "guest.wasm")).size } }; // Vite knows its address
const parts = { engine: engine(), zoo: zoo(), guest };
writeFileSync(join(build, "parts.json"), JSON.stringify(parts));

// engine builds the Go program; the go command's cache makes the second time quick.
function engine() {
  const folder = join(build, "engine");
  mkdirSync(folder, { recursive: true });
  execFileSync("go", ["build", "-ldflags=-s -w", "-trimpath", "-o", join(folder, "page.wasm"), "./cmd/page"], {
    cwd: root, env: { ...process.env, GOOS: "js", GOARCH: "wasm" }, stdio: "inherit",
  });
  const goroot = execFileSync("go", ["env", "GOROOT"], { cwd: root, encoding: "utf8" }).trim();
  cpSync(join(goroot, "lib", "wasm", "wasm_exec.js"), join(folder, "wasm_exec.js"));
  for (const name of ["medley.js", "worker.js"]) {
    cpSync(join(root, "web", name), join(folder, name));
  }
  return publish("engine", folder);
}

// zoo is served from the program's own copy (package shared/zoo), so it is named here and not copied.
function zoo() {
  return name("zoo", join(root, "shared", "zoo", "data"));
}

// publish copies a folder to its address.
function publish(title, folder) {
  const part = name(title, folder);
  cpSync(folder, join(build, "public", part.at), { recursive: true });
  return part;
}

// name returns the address of a folder, /assets/TITLE-DIGEST/, and its files with their sizes.
function name(title, folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
  const digest = createHash("sha256");
  for (const file of files) {
    digest.update(file + "\0").update(readFileSync(join(folder, file)));
  }
  const at = `/assets/${title}-${digest.digest("hex").slice(0, 12)}/`;
  return { at, files: Object.fromEntries(files.map((file) => [file, statSync(join(folder, file)).size])) };
}
