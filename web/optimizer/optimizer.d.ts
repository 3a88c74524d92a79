// The declarations of optimizer.js; those of remote.js are in remote.d.ts.

/** A guest: bytes, a response, an address, or what compile returned. A module is compiled once and started for every search. */
export type Source = BufferSource | Response | Promise<Response> | string | URL | WebAssembly.Module;

/** What is searched. Bounds are inclusive. */
export interface Problem {
  /** Length of every candidate, 1 to 10,000. */
  dim: number;
  lower: number[];
  upper: number[];
  /** Evaluations in all, 1 to 100,000. */
  budget: number;
  /** The most candidates that are evaluated at once; 1 if it is left out. */
  batch?: number;
  /** Everything random comes from it: 64 bits without a sign, as digits or a bigint where a number is not exact. 0 if it is left out. */
  seed?: bigint | string | number;
  /** The objective holds l1·Σ|w|, which an optimizer may treat as known. */
  l1?: number;
  /** Target tokens of each example, in the order of Score.logProbs. */
  groups?: number[];
}

/** What an evaluation says of one candidate. */
export interface Score {
  /** To be minimised; NaN when the evaluation failed. */
  objective: number;
  /** Natural log-probability of each target token: example after example, or a list for each. */
  logProbs?: number[] | number[][];
}

export interface Best {
  weights: number[];
  /** NaN if the optimizer does not predict one for a candidate that was not evaluated. */
  objective: number;
  /** False for a candidate that was chosen without an evaluation. */
  observed: boolean;
}

/** What a guest says of itself. */
export interface Info {
  name: string;
  version: string;
  /** It reads log-probabilities. */
  wantsAux: boolean;
  /** The most weights it takes; 0 is no limit of its own. */
  maxDim: number;
  /** 0 is no preference. */
  preferredBatch: number;
}

export interface Limits {
  /** Of one instance; 16 MiB. Seen after each call, not during it. */
  memoryBytes?: number;
  /** Of the file; 16 MiB. */
  moduleBytes?: number;
  /** Of a text that the guest returns; 4 KiB. */
  textBytes?: number;
}

export interface OpenOptions {
  /** The guest's own. The built-in guest has optimizer: "auto" (the default), "gntr", "cobyla", "coord", "es", "random" or "zero". */
  options?: Record<string, string>;
  limits?: Limits;
}

export type Code = "invalid" | "unsupported" | "not_found" | "too_large" | "canceled" | "internal";

/** Everything that functions of this module throw. The message can be shown to a user. */
export class OptimizerError extends Error {
  constructor(code: Code, message: string);
  readonly code: Code;
}

/** Compiles a guest; throws OptimizerError for what is none. */
export function compile(source: Source, limits?: Limits): Promise<WebAssembly.Module>;

/** The bytes of a source that is no WebAssembly.Module. */
export function read(source: Exclude<Source, WebAssembly.Module>): Promise<BufferSource>;

/** A guest at work on one search. After a trap or a broken rule it is dead: every call but best throws why. */
export class Optimizer {
  private constructor();
  static open(source: Source, problem: Problem, options?: OpenOptions): Promise<Optimizer>;
  info(): Info;
  /** Between 1 and n candidates, or none when the search is over. Throws while candidates wait for their scores. */
  ask(n: number): number[][];
  /** Scores of candidates, asked ones or others within the bounds. */
  tell(candidates: number[][], scores: Score[]): void;
  /** What to use; undefined before the first finite objective. */
  best(): Best | undefined;
  close(): void;
}
