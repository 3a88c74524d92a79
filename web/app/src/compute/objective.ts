// The objective as package shared/task computes it.
import type { Objective } from "../domain";

/** tokenMean is the mean loss over all tokens of examples with these mean losses and numbers of tokens; NaN if there are none. */
export function tokenMean(losses: number[], tokens: number[]): number {
  let sum = 0;
  let count = 0;
  losses.forEach((loss, i) => {
    const n = tokens[i] ?? 0;
    sum += loss * n;
    count += n;
  });
  return sum / count;
}

/** l1 is the coefficient of Σ|w| for so many weights. */
export function l1(o: Objective, weights: number): number {
  return o.name === "sparse" || weights === 0 ? o.penalty : o.penalty / weights;
}

/** value is the objective of weights whose examples have these losses and tokens. */
export function value(o: Objective, losses: number[], tokens: number[], weights: number[]): number {
  let size = 0;
  for (const w of weights) {
    size += Math.abs(w);
  }
  let data = tokenMean(losses, tokens);
  if (o.name === "lorahub") {
    data /= losses.length;
  }
  return data + l1(o, weights.length) * size;
}

/** correct tells whether an answer counts as the target: case, full stops and surrounding space do not count. */
export function correct(answer: string, target: string): boolean {
  const plain = (s: string) => s.trim().toLowerCase().replaceAll(".", "");
  return plain(answer) === plain(target);
}
