// The declarations of remote.js.
import type { Best, Info, OpenOptions, Problem, Score, Source } from "./optimizer.js";

export interface RemoteOptions extends OpenOptions {
  /** Milliseconds after which the worker is ended: of open, with its compilation (30,000), and of every other call (2,000). */
  times?: { start?: number; call?: number };
}

/** An Optimizer in a Web Worker. A call that overruns its time ends the worker, and every call is rejected then. */
export class RemoteOptimizer {
  private constructor();
  static open(source: Source, problem: Problem, options?: RemoteOptions): Promise<RemoteOptimizer>;
  info(): Info;
  ask(n: number): Promise<number[][]>;
  tell(candidates: number[][], scores: Score[]): Promise<void>;
  best(): Promise<Best | undefined>;
  close(): void;
}
