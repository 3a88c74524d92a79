// The one store: what the page knows. Views are functions of it; actions.ts and the controllers change it.
import { computed, signal } from "@preact/signals";
import type { EngineInfo } from "../compute/local";
import { defaultSettings, type Evaluation, type ModuleInfo, type Score, type Settings, type Task } from "../domain";
import type { Output } from "../search/output";
import { worthless } from "../task/parse";
import type { Plugin } from "../search/optimizer";
import type { KeptPlugin } from "./persist";

export type Mode = "local" | "server";
export type Theme = "auto" | "light" | "dark";

/** Why work waits, in words; it goes on by itself when that has passed. */
export interface Trouble {
  code: string;
  message: string;
}

export type RunState = "preparing" | "running" | "paused" | "waiting" | "comparing" | "done" | "failed";

export interface Run {
  id: string;
  title: string;
  mode: Mode;
  base: string;
  modules: string[];
  names: string[];
  task: Task;
  settings: Settings;
  /** The optimizer's own name. */
  optimizer: string;
  state: RunState;
  /** What it is at, and how far, 0 to 1. */
  phase: string;
  share: number;
  trouble: Trouble | null;
  /** Why it failed or ended early. */
  problem: string;
  stopped: string;
  evaluations: Evaluation[];
  tokens: number[];
  seconds: number;
  output: Output | null;
  /** Log-probabilities at zero weights and at the composition, with the tokens of each example and their texts where they are known. */
  words: { before: Score; after: Score; counts: number[]; texts: (string[] | null)[] | null } | null;
}

export interface Session {
  token: string;
  /** Milliseconds since 1970; 0 if the token does not say. */
  expires: number;
  scopes: string[];
}

export type Engine =
  | { state: "idle" }
  | { state: "loading"; what: string; share: number }
  | { state: "ready"; info: EngineInfo }
  | { state: "failed"; message: string };

/** The mixer's last answer. */
export interface Mixed {
  objective: number;
  loss: number;
  heldOut: number;
  examples: number[];
  text: string;
  /** What is under way. */
  scoring: boolean;
  writing: boolean;
  problem: string;
  /** Base alone, to compare with. */
  zero: { objective: number; examples: number[] } | null;
}

export interface Notice {
  id: number;
  kind: "good" | "bad" | "info";
  message: string;
}

export const blankTask: Task = { name: "", rows: [], eval: [] };

export const store = {
  theme: signal<Theme>("auto"),
  mode: signal<Mode>("local"),
  session: signal<Session | null>(null),
  /** The server refused the token: work waits, and nothing is lost. */
  expired: signal(false),
  signingIn: signal(false),
  engine: signal<Engine>({ state: "idle" }),
  bases: signal<string[]>([]),
  base: signal(""),

  task: signal<Task>(blankTask),
  /** What tokenizers make of rows, by tokenKey. */
  tokens: signal<Map<string, { input: number; output: number; warning: string }>>(new Map()),

  modules: signal<Record<Mode, ModuleInfo[]>>({ local: [], server: [] }),
  modulesState: signal<{ loading: boolean; problem: string }>({ loading: false, problem: "" }),
  chosen: signal<Record<Mode, string[]>>({ local: [], server: [] }),
  weights: signal<Record<string, number>>({}),
  prompt: signal(""),
  mixed: signal<Mixed | null>(null),
  /** How far a suggestion is, 0 to 1; null while there is none under way. */
  suggesting: signal<number | null>(null),

  settings: signal<Settings>(defaultSettings),
  plugin: signal<Plugin | null>(null),
  /** Plugins that this browser keeps, the one used last first. */
  keptPlugins: signal<KeptPlugin[]>([]),
  runs: signal<Run[]>([]),
  /** Runs on the chart. */
  compared: signal<string[]>([]),
  /** The run whose result is shown. */
  shown: signal(""),

  notices: signal<Notice[]>([]),
  /** Told to screen readers. */
  spoken: signal(""),
};

/** What is searched with: rows that can be scored, those held out last. */
export const usable = computed(() => {
  const rows = store.task.value.rows.filter((r) => !worthless(r));
  return [...rows.filter((r) => !r.held), ...rows.filter((r) => r.held)];
});

export const chosenModules = computed(() => {
  const mode = store.mode.value;
  const byID = new Map(store.modules.value[mode].map((m) => [m.id, m]));
  return store.chosen.value[mode].flatMap((id) => byID.get(id) ?? []);
});

export const shownRun = computed(() => store.runs.value.find((r) => r.id === store.shown.value) ?? store.runs.value.findLast((r) => r.output !== null));

/** The run that is under way, if any. */
export const activeRun = computed(() => store.runs.value.find((r) => ["preparing", "running", "paused", "waiting", "comparing"].includes(r.state)));

export function changeRun(id: string, change: Partial<Run>): void {
  store.runs.value = store.runs.value.map((r) => (r.id === id ? { ...r, ...change } : r));
}

let notices = 0;

/** notify shows a message for a while; a bad one stays until it is dismissed. */
export function notify(kind: Notice["kind"], message: string): void {
  const notice = { id: ++notices, kind, message };
  store.notices.value = [...store.notices.value.filter((n) => n.message !== message).slice(-3), notice];
  if (kind !== "bad") {
    setTimeout(() => dismiss(notice.id), 6000);
  }
}

export function dismiss(id: number): void {
  store.notices.value = store.notices.value.filter((n) => n.id !== id);
}

export function speak(text: string): void {
  store.spoken.value = text;
}
