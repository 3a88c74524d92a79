// The engine as it is loaded on demand: web/medley.js and the program beside it.
import { load, parts, type Progress } from "../parts";
import type { Medley } from "./medley";

let engine: Promise<Medley> | undefined;

/** loadEngine fetches the program, which the browser then has at hand for the engine's worker, and the module that starts it. */
export function loadEngine(progress: Progress): Promise<Medley> {
  engine ??= (async () => {
    await load(parts.engine, Object.keys(parts.engine.files), progress);
    return (await import(/* @vite-ignore */ parts.engine.at + "medley.js")) as Medley;
  })();
  engine.catch(() => {
    engine = undefined; // so that the next call tries again
  });
  return engine;
}
