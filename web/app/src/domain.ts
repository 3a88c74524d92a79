// What the page talks about. Names are those of the API and of the command line.

export interface Example {
  input: string;
  output: string;
}

/** An example of the task as the page edits it. */
export interface Row extends Example {
  id: number;
  /** Held out of the search; its loss shows over-fitting. */
  held: boolean;
}

export interface Task {
  name: string;
  rows: Row[];
  /** Examples to measure accuracy on; nothing is ever chosen by them. */
  eval: Example[];
}

export type Method = "delta" | "product";
export type ObjectiveName = "sparse" | "mean" | "lorahub";

export interface Objective {
  name: ObjectiveName;
  penalty: number;
}

/** A LoRA module that can be chosen. */
export interface ModuleInfo {
  id: string;
  name: string;
  task: string;
  author: string;
  licence: string;
  base: string;
  rank: number;
  size: number;
  mine: boolean;
  created: string;
}

/** What an evaluation says of one weight vector. */
export interface Score {
  /** Token-mean cross-entropy of each example. */
  examples: number[];
  /** Natural log-probability of each target token, example after example. */
  logProbs: number[];
}

/** One evaluation of a search, as a trace has it: what it says is about the examples searched with. */
export interface Evaluation extends Score {
  number: number;
  round: number;
  roundSize: number;
  weights: number[];
  objective: number;
  loss: number;
  /** Lowest finite objective so far; NaN before the first. */
  best: number;
  /** Loss on the held-out examples; NaN if there are none. */
  heldOut: number;
}

/** Which plugin, without its bytes. */
export interface PluginName {
  /** The file's name. */
  file: string;
  /** What it calls itself. */
  name: string;
  version: string;
  /** In hexadecimal; empty where the browser cannot compute it. */
  sha256: string;
}

export interface Settings {
  /** A built-in optimizer, or "plugin" for the file that was dropped. */
  optimizer: string;
  budget: number;
  batch: number;
  seed: number;
  bound: number;
  method: Method;
  objective: Objective;
  /** The plugin that was dropped last. Its bytes may be in this browser or not. */
  plugin: PluginName | null;
  /** Options of a plugin. */
  options: Record<string, string>;
}

export const defaultSettings: Settings = {
  optimizer: "auto", budget: 40, batch: 8, seed: 42, bound: 1.5, method: "delta", objective: { name: "sparse", penalty: 0.05 }, plugin: null, options: {},
};

/** The built-in optimizers, with what they are in a line. */
export const optimizers: Record<string, string> = {
  auto: "Chooses by the task and the budget. Start here.",
  gntr: "Single modules first, then a trust region on log-probabilities.",
  cobyla: "LoraHub's own: a linear trust region, one candidate at a time.",
  coord: "One weight at a time, by steps that grow and turn.",
  es: "Evolution strategy (1+λ), the simplest that adapts.",
  random: "Uniform draws, as a control.",
};

/** An error with a code for programs and a sentence for people. */
export class Fault extends Error {
  readonly code: string;
  readonly field: string;
  /** Seconds to wait before trying again, if the other side said so. */
  readonly retryAfter: number;

  constructor(code: string, message: string, field = "", retryAfter = 0) {
    super(message);
    this.name = "Fault";
    this.code = code;
    this.field = field;
    this.retryAfter = retryAfter;
  }
}

/** faultOf makes a Fault of whatever was thrown. */
export function faultOf(e: unknown): Fault {
  if (e instanceof Fault) {
    return e;
  }
  if (e instanceof DOMException && e.name === "AbortError") {
    return new Fault("canceled", "was canceled");
  }
  const { message, code, field } = e as { message?: unknown; code?: unknown; field?: unknown };
  return new Fault(typeof code === "string" ? code : "internal", String(message ?? e), typeof field === "string" ? field : "");
}
