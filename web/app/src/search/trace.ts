// Traces as package shared/search writes them: a header, then a JSON line for every evaluation.
import type { Evaluation } from "../domain";

export interface Problem {
  dim: number;
  lower: number[];
  upper: number[];
  budget: number;
  batch: number;
  seed: number;
  l1: number;
  groups: number[];
}

/** trace writes a whole search. */
export function trace(problem: Problem, optimizer: string, labels: Record<string, string>, evaluations: Evaluation[]): string {
  const { dim, lower, upper, budget, batch, seed, l1, groups } = problem;
  const header =
    `{"medley_trace":1,"optimizer":${JSON.stringify(optimizer)},"problem":{"dim":${dim},"lower":${list(lower)},"upper":${list(upper)},` +
    `"budget":${budget},"batch":${batch},"seed":"${seed}","l1":${digits(l1)},"groups":${JSON.stringify(groups)}},"labels":${JSON.stringify(labels)}}`;
  return [header, ...evaluations.map(line)].join("\n") + "\n";
}

function line(e: Evaluation): string {
  return (
    `{"evaluation":${e.number},"round":${e.round},"round_size":${e.roundSize},"objective":${digits(e.objective)},"loss":${digits(e.loss)},` +
    `"best":${digits(e.best)},"weights":${list(e.weights)},"examples":${list(e.examples)},"log_probs":${list(e.logProbs)}}`
  );
}

function list(numbers: number[]): string {
  return `[${numbers.map(digits).join(",")}]`;
}

/** digits brings back the same number, -0 too, which JSON.stringify loses. NaN is null, and infinities are texts. */
function digits(v: number): string {
  if (Number.isFinite(v)) {
    return Object.is(v, -0) ? "-0" : String(v);
  }
  return Number.isNaN(v) ? "null" : v > 0 ? '"inf"' : '"-inf"';
}
