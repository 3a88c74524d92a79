// What outlives the page: work in the browser's local storage, plugins in its database, the token only in the tab's session storage.
// Nothing else stores anything.
import { effect } from "@preact/signals";
import { defaultSettings, type Evaluation, type PluginName } from "../domain";
import { sha256 } from "../search/digest";
import type { Plugin } from "../search/optimizer";
import { store, type Run, type Theme } from "./store";

const workKey = "medley.work";
const runKey = (id: string) => `medley.run.${id}`;
const tokenKey = "medley.token";
const mostRuns = 12;

// JSON has no NaN and no infinities; in evaluations they are these texts.
const names = new Map<number, string>([[Infinity, "inf"], [-Infinity, "-inf"]]);

function pack(_: string, v: unknown): unknown {
  if (typeof v !== "number") {
    return v;
  }
  return Object.is(v, -0) ? { n: "-0" } : Number.isFinite(v) ? v : { n: names.get(v) ?? "nan" };
}

function unpack(_: string, v: unknown): unknown {
  const name = typeof v === "object" && v !== null && "n" in v && Object.keys(v).length === 1 ? (v as { n: unknown }).n : undefined;
  switch (name) {
    case "-0": return -0;
    case "inf": return Infinity;
    case "-inf": return -Infinity;
    case "nan": return NaN;
    default: return v;
  }
}

export const text = (value: unknown): string => JSON.stringify(value, pack);
export const untext = (s: string): unknown => JSON.parse(s, unpack);

/** restore puts what was kept into the store. A run that was under way is paused: its record is there, and it can go on. */
export function restore(): void {
  const work = read<Record<string, never>>(localStorage, workKey);
  for (const name of kept) {
    if (work?.[name] !== undefined) {
      store[name].value = work[name];
    }
  }
  store.settings.value = { ...defaultSettings, ...store.settings.value }; // another version may have known fewer
  const ids = read<string[]>(localStorage, "medley.runs") ?? [];
  store.runs.value = ids.flatMap((id) => read<Run>(localStorage, runKey(id)) ?? []).map(rested);
  const session = read<{ token: string; expires: number; scopes: string[] }>(sessionStorage, tokenKey);
  store.session.value = session ?? null;
}

const kept = ["theme", "mode", "base", "task", "chosen", "weights", "prompt", "settings", "compared", "shown"] as const;

/** rested is a run as it is when nobody works at it. */
export function rested(run: Run): Run {
  const over = run.state === "done" || run.state === "failed";
  return over ? run : { ...run, state: "paused", trouble: null, phase: "The page was loaded anew. Resume to go on where the search was." };
}

/** keep writes what changes, a little later, and at once when the page goes. */
export function keep(): void {
  const written = new Map<string, Run>();
  let timer = 0;
  const write = () => {
    clearTimeout(timer);
    timer = 0;
    save(localStorage, workKey, Object.fromEntries(kept.map((name) => [name, store[name].peek()])));
    saveRuns(written);
  };
  effect(() => {
    kept.forEach((name) => store[name].value);
    void store.runs.value;
    timer ||= window.setTimeout(write, 800);
  });
  effect(() => {
    const session = store.session.value;
    if (session) {
      save(sessionStorage, tokenKey, session);
    } else {
      sessionStorage.removeItem(tokenKey);
    }
  });
  addEventListener("pagehide", write);
}

/** saveRuns writes the runs that are not written as they are. The oldest make room. */
function saveRuns(written: Map<string, Run>): void {
  const runs = store.runs.peek().slice(-mostRuns);
  for (const id of [...written.keys()].filter((id) => !runs.some((r) => r.id === id))) {
    localStorage.removeItem(runKey(id));
    written.delete(id);
  }
  let first = 0;
  for (const run of runs) {
    if (written.get(run.id) === run) {
      continue;
    }
    while (!save(localStorage, runKey(run.id), run) && first < runs.length - 1) {
      localStorage.removeItem(runKey(runs[first++]?.id ?? ""));
    }
    written.set(run.id, run);
  }
  save(localStorage, "medley.runs", runs.slice(first).map((r) => r.id));
}

/** save reports whether there was room. */
function save(to: Storage, key: string, value: unknown): boolean {
  try {
    to.setItem(key, text(value));
    return true;
  } catch {
    return false;
  }
}

/** read is undefined for what is not there or was written by another version. */
function read<T>(from: Storage, key: string): T | undefined {
  try {
    const kept = from.getItem(key);
    return kept === null ? undefined : (untext(kept) as T);
  } catch {
    return undefined;
  }
}

/** KeptPlugin is a plugin in this browser's database, without its bytes. */
export interface KeptPlugin extends PluginName {
  size: number;
  /** Milliseconds since 1970. */
  used: number;
}

const plugins = { name: "plugins", most: 8, bytes: 32 << 20 };

/** inPlugins runs one request on the database; undefined if the browser has none or lets the page have none. */
function inPlugins<T>(mode: IDBTransactionMode, ask: (all: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const none = () => resolve(undefined);
    try {
      const opening = indexedDB.open("medley", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(plugins.name, { keyPath: "sha256" });
      opening.onerror = opening.onblocked = none;
      opening.onsuccess = () => {
        const work = opening.result.transaction(plugins.name, mode);
        const request = ask(work.objectStore(plugins.name));
        work.oncomplete = () => resolve(request.result);
        work.onerror = work.onabort = none;
        opening.result.close(); // when the transaction is over
      };
    } catch {
      none();
    }
  });
}

/** keepPlugin keeps a plugin under its digest. Those that were not used for longest make room. */
export async function keepPlugin(plugin: Plugin): Promise<void> {
  if (plugin.sha256 === "") {
    return; // it could not be checked when it is read
  }
  const { file, name, version, sha256, bytes } = plugin;
  await inPlugins("readwrite", (all) => all.put({ file, name, version, sha256, bytes, used: Date.now() }));
  let [count, size] = [0, 0];
  for (const p of await keptPlugins()) {
    if (++count > plugins.most || (size += p.size) > plugins.bytes) {
      await dropPlugin(p.sha256);
    }
  }
}

/** keptPlugin finds a plugin by its digest, and checks that it has it. */
export async function keptPlugin(digest: string): Promise<Plugin | undefined> {
  const found = digest === "" ? undefined : await inPlugins<Plugin | undefined>("readonly", (all) => all.get(digest));
  if (!found) {
    return undefined;
  }
  if ((await sha256(found.bytes)) !== digest) {
    await dropPlugin(digest);
    return undefined;
  }
  await inPlugins("readwrite", (all) => all.put({ ...found, used: Date.now() }));
  return found;
}

/** keptPlugins lists them, the one used last first. */
export async function keptPlugins(): Promise<KeptPlugin[]> {
  const all = (await inPlugins<(Plugin & { used: number })[]>("readonly", (all) => all.getAll())) ?? [];
  return all.map(({ bytes, ...p }) => ({ ...p, size: bytes.length })).sort((a, b) => b.used - a.used);
}

export async function dropPlugin(digest: string): Promise<void> {
  await inPlugins("readwrite", (all) => all.delete(digest));
}

export function applyTheme(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
}

/** shared is what a link restores: everything but secrets. */
export interface Shared {
  mode: "local" | "server";
  base: string;
  task: Run["task"];
  chosen: string[];
  weights: Record<string, number>;
  prompt: string;
  settings: Run["settings"];
  run: Run | null;
}

/** link writes what a link restores into an address's fragment, which no server sees. */
export async function link(shared: Shared): Promise<string> {
  const packed = new Blob([text(shared)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  let binary = "";
  bytes.forEach((b) => (binary += String.fromCharCode(b)));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

const mostShared = 32 << 20;

/** unlink reads it. It comes from anyone: what does not have the form of a link is refused. */
export async function unlink(fragment: string): Promise<Shared> {
  const bytes = Uint8Array.from(atob(fragment.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  let size = 0;
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for await (const chunk of unpacked as ReadableStream<Uint8Array<ArrayBuffer>>) {
    if ((size += chunk.length) > mostShared) {
      throw new RangeError("the link holds too much");
    }
    chunks.push(chunk);
  }
  return checked(untext(await new Blob(chunks).text()));
}

function checked(v: unknown): Shared {
  const s = v as Shared;
  const rows = (list: unknown): boolean =>
    Array.isArray(list) && list.every((r: { input?: unknown; output?: unknown }) => typeof r.input === "string" && typeof r.output === "string");
  const texts = (list: unknown): boolean => Array.isArray(list) && list.every((t) => typeof t === "string");
  const numbers = (list: unknown): list is number[] => Array.isArray(list) && list.every((n) => typeof n === "number");
  const evaluation = (e: Evaluation) => numbers(e.weights) && numbers(e.examples) && numbers(e.logProbs) && typeof e.objective === "number";
  const pluginName = (p: PluginName | null | undefined) => !p || [p.file, p.name, p.version, p.sha256].every((t) => typeof t === "string");
  const good =
    (s.mode === "local" || s.mode === "server") && typeof s.task.name === "string" && rows(s.task.rows) && rows(s.task.eval) && texts(s.chosen) &&
    Object.values(s.weights).every((w) => typeof w === "number") && typeof s.prompt === "string" && typeof s.base === "string" &&
    typeof s.settings.optimizer === "string" && [s.settings.budget, s.settings.batch, s.settings.seed, s.settings.bound].every((n) => typeof n === "number") &&
    pluginName(s.settings.plugin) && (s.run === null || (texts(s.run.modules) && texts(s.run.names) && Array.isArray(s.run.evaluations) && s.run.evaluations.every(evaluation) && pluginName(s.run.settings.plugin)));
  if (!good) {
    throw new TypeError("the link is not one of this page's");
  }
  return s;
}
