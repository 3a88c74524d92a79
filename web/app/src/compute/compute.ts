// Where forward passes run: in this page (local.ts) or at the server (server.ts).
import type { Example, Method, Score } from "../domain";

export interface Scorer {
  /** Target tokens of each example, in the order of Score.logProbs. */
  readonly tokens: number[];
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
  /** Texts of the output's tokens, the end included. */
  output: string[];
  warning: string;
}

export interface Compute {
  readonly kind: "local" | "server";
  /** Name of the base model. */
  readonly base: string;
  open(modules: string[], examples: Example[], method: Method, signal?: AbortSignal): Promise<Scorer>;
  /** Answers to inputs. heard is told of each piece of text as it comes. */
  generate(modules: string[], weights: number[], inputs: string[], method: Method, options: GenerateOptions): Promise<string[]>;
  /** undefined where the tokenizer is out of reach. */
  tokens(examples: Example[]): Promise<Tokens[]> | undefined;
  /** The files of a module, as PEFT has them. */
  files(module: string, signal?: AbortSignal): Promise<Record<string, Uint8Array<ArrayBuffer>>>;
}

export interface GenerateOptions {
  maxTokens?: number;
  heard?: (input: number, text: string) => void;
  signal?: AbortSignal | undefined;
}
