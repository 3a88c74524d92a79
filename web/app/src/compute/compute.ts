// Where forward passes run: in this page (local.ts) or at the server (server.ts).
import type { Example, Method, Score } from "../domain";

export interface Scorer {
  /** Target tokens of each example, in the order of Score.logProbs. */
  readonly tokens: number[];
  /** What the tokenizer makes of each example; the server tells the texts of a bounded number of the first ones. */
  readonly words: Tokens[];
  readonly warnings: string[];
  /** What it is computed on. */
  readonly backend: string;
  /** One score per weight vector, which has one weight per module. */
  score(weights: number[][], signal?: AbortSignal): Promise<Score[]>;
  close(): void;
}

/** What the tokenizer makes of an example. */
export interface Tokens {
  /** Tokens of the input, the end included. */
  input: number;
  /** Of the output, the end included. */
  count: number;
  /** Texts of the output's tokens; the end's is empty. undefined if they are not told. */
  texts: string[] | undefined;
  /** What was cut. */
  warning: string;
}

export interface Compute {
  readonly kind: "local" | "server";
  /** Name of the base model. */
  readonly base: string;
  open(modules: string[], examples: Example[], method: Method, signal?: AbortSignal): Promise<Scorer>;
  /** Answers to inputs. heard is told of each piece of text as it comes. */
  generate(modules: string[], weights: number[], inputs: string[], method: Method, options: GenerateOptions): Promise<string[]>;
  /** What the tokenizer makes of examples. The server needs a module to tell it; any will do. */
  tokens(examples: Example[], module: string): Promise<Tokens[]>;
  /** Modules with the lowest loss on examples, each alone with weight 1, the best first; base is the loss of none. told hears how far it is. */
  rank(modules: string[], examples: Example[], method: Method, count: number, signal: AbortSignal, told: (share: number) => void): Promise<Ranking>;
  /** The files of a module, as PEFT has them. */
  files(module: string, signal?: AbortSignal): Promise<Record<string, Uint8Array<ArrayBuffer>>>;
}

export interface Ranking {
  base: number;
  modules: { id: string; loss: number }[];
}

export interface GenerateOptions {
  maxTokens?: number;
  heard?: (input: number, text: string) => void;
  signal?: AbortSignal | undefined;
}
