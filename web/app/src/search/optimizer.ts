// Optimizers in a Web Worker that can be ended: the built-in guest, the very bytes that wazero runs, or a file that was dropped.
import guestAddress from "../../../../wasm/guest/guest.wasm?url";
import type { Best, Info, Problem, Score } from "../../../optimizer/optimizer";
import { Fault, faultOf, type PluginName, type Settings } from "../domain";
import { parts, read } from "../parts";
import { tidy } from "../text";
import { sha256 } from "./digest";

/** An optimizer at work on one search. */
export interface Asking {
  info(): Info;
  ask(n: number): Promise<number[][]>;
  tell(candidates: number[][], scores: Score[]): Promise<void>;
  best(): Promise<Best | undefined>;
  close(): void;
}

/** A plugin: a .wasm file that somebody dropped. */
export interface Plugin extends PluginName {
  bytes: Uint8Array<ArrayBuffer>;
}

const patience = 600; // milliseconds that a stranger's code may take in a call, its start included
const ownPatience = 20_000; // that of the built-in guest, which is trusted and may be on a slow machine

const library = () => import("../../../optimizer/remote.js");
let guest: Promise<Uint8Array<ArrayBuffer>> | undefined;

/** start starts the optimizer that settings name on a problem. stage hears how much of the built-in one has loaded. */
export async function start(settings: Settings, plugin: Plugin | undefined, problem: Problem, stage: (share: number) => void): Promise<Asking> {
  if (settings.optimizer === "plugin") {
    if (!plugin) {
      throw new Fault("not_found", "Drop the file of a plugin first.", "optimizer");
    }
    return named(plugin.file, () => open(plugin.bytes, problem, settings.options, patience));
  }
  const total = parts.guest.files["guest.wasm"] ?? 1;
  let loaded = 0;
  guest ??= read(guestAddress, (bytes) => stage(Math.min(1, (loaded += bytes) / total)));
  guest.catch(() => {
    guest = undefined;
  });
  return open(await guest, problem, { optimizer: settings.optimizer }, ownPatience);
}

/** open compiles first, because how long that takes says nothing about the guest. */
async function open(bytes: Uint8Array<ArrayBuffer>, problem: Problem, options: Record<string, string>, time: number): Promise<Asking> {
  const [{ RemoteOptimizer }, { compile }] = await Promise.all([library(), import("../../../optimizer/optimizer.js")]);
  const module = await compile(bytes);
  return RemoteOptimizer.open(module, problem, { options, times: { start: time, call: time } });
}

/** named makes the messages of a plugin name its file. */
export async function named<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    const { code, message } = faultOf(e);
    throw new Fault(code, `“${shorten(file)}” ${message.replace(/^plugin: /, "")}`, "optimizer");
  }
}

/** shorten keeps names of unknown length out of messages. */
export function shorten(name: string): string {
  const letters = [...tidy(name.slice(0, 240))];
  return letters.length <= 60 && name.length <= 240 ? letters.join("") : letters.slice(0, 59).join("") + "…";
}

/** inspect tries a dropped file on a small problem, so that a user hears at once what is wrong with it. */
export async function inspect(file: File): Promise<Plugin> {
  if (file.size > 16 << 20) {
    throw new Fault("too_large", `“${shorten(file.name)}” has more than 16 MiB.`, "optimizer");
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const trial: Problem = { dim: 2, lower: [-1, -1], upper: [1, 1], budget: 4, batch: 2, seed: 1, groups: [1] };
  const info = await named(file.name, async () => {
    const optimizer = await open(bytes, trial, {}, patience);
    optimizer.close();
    return optimizer.info();
  });
  const digest = await sha256(bytes);
  return { file: file.name, bytes, name: info.name, version: info.version, sha256: digest };
}
