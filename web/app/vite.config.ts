import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// The parts that are not bundled (build/parts.mjs): their addresses hold a digest of what is in them.
const parts = JSON.parse(readFileSync(new URL(".build/parts.json", import.meta.url), "utf8")) as unknown;

export default defineConfig({
  publicDir: ".build/public",
  define: { __PARTS__: JSON.stringify(parts) },
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0, // data: addresses would need another Content-Security-Policy
    modulePreload: { polyfill: false },
    rollupOptions: { output: { entryFileNames: "assets/[name]-[hash].js" } },
  },
  worker: { format: "es" },
});
