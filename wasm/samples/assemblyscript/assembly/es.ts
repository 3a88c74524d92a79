// The (1+lambda) evolution strategy with the one-fifth success rule (Rechenberg, "Evolutionsstrategie", 1973): mutate the best point in
// every weight, widen the mutations when one in five or more succeeds, else narrow them. lambda is what is asked for at once.
//
// Everything is sums and products of f64 in a fixed order, so every machine and every language computes the same bits.

import { Config } from "./config";
import { BAD_ARGUMENT, BAD_STATE, refuse } from "./refusal";

// Four failures undo a success, so the width holds still at a success in five.
const FIRST_SIGMA: f64 = 0.3;
const LEAST_SIGMA: f64 = 0.001;
const MOST_SIGMA: f64 = 1.0;
const WIDEN: f64 = 1.5;
const NARROW: f64 = 0.9036020036098448; // the inverse of the fourth root of WIDEN

const TWO_53 = <f64>(<u64>1 << 53);

/** SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
class SplitMix {
  constructor(private state: u64) {}

  next(): u64 {
    this.state += 0x9e3779b97f4a7c15;
    let z = this.state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  /** The sum of twelve uniform numbers less 6, of mean 0 and variance 1: near enough to a Gaussian, and without a logarithm. */
  normal(): f64 {
    let sum: f64 = -6;
    for (let i = 0; i < 12; i++) sum += <f64>(this.next() >> 11) / TWO_53;
    return sum;
  }
}

/** A row of numbers at an address. */
function read(row: usize, dim: i32): StaticArray<f64> {
  const x = new StaticArray<f64>(dim);
  memory.copy(changetype<usize>(x), row, (dim as usize) << 3);
  return x;
}

function equal(a: StaticArray<f64>, b: StaticArray<f64>): bool {
  for (let i = 0; i < a.length; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

export class ES {
  private random: SplitMix;
  private sigma: f64 = FIRST_SIGMA; // standard deviation of a mutation, as a share of a third of a weight's range
  private asked: i32 = 0;
  private pending: StaticArray<f64>[] = []; // asked and not answered
  private best: StaticArray<f64> | null = null;
  private bestF: f64 = 0;

  constructor(private config: Config) {
    this.random = new SplitMix(config.seed);
  }

  /** Writes at most k candidates to x: 0 first, and then mutations of the best point, of 0 before there is one. */
  ask(x: usize, k: i32): i32 {
    if (this.pending.length > 0) return refuse(BAD_STATE, "asked again before every candidate was answered");
    const dim = this.config.dim;
    const n = min(k, this.config.budget - this.asked);
    for (let i = 0; i < n; i++) {
      const row = this.propose();
      memory.copy(x + (((i as usize) * dim) << 3), changetype<usize>(row), (dim as usize) << 3);
      this.pending.push(row);
      this.asked++;
    }
    return n;
  }

  private propose(): StaticArray<f64> {
    const c = this.config;
    const best = this.best;
    const row = new StaticArray<f64>(c.dim);
    for (let i = 0; i < c.dim; i++) {
      let v: f64 = 0;
      if (this.asked > 0) {
        const third = (c.upper[i] - c.lower[i]) / 3;
        if (best != null) v = best[i];
        v += this.sigma * third * this.random.normal();
      }
      row[i] = min(max(v, c.lower[i]), c.upper[i]) + 0.0; // + 0 turns -0 into 0
    }
    return row;
  }

  /** Learns the objectives f of the k rows of x. Nothing changes if one of them is refused. */
  tell(x: usize, f: usize, k: i32): i32 {
    const c = this.config;
    const size = (c.dim as usize) << 3;
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < c.dim; j++) {
        const v = load<f64>(x + (i as usize) * size + ((j as usize) << 3));
        if (!(v >= c.lower[j] && v <= c.upper[j])) return refuse(BAD_ARGUMENT, "told a candidate that is outside the bounds");
      }
    }
    for (let i = 0; i < k; i++) {
      this.learn(read(x + (i as usize) * size, c.dim), load<f64>(f + ((i as usize) << 3)));
    }
    return 0;
  }

  private learn(row: StaticArray<f64>, f: f64): void {
    const asked = this.strike(row);
    const known = this.best != null;
    const better = isFinite(f) && (!known || f < this.bestF);
    if (better) {
      this.best = row;
      this.bestF = f;
    }
    if (!asked || !known) return; // a warm start, or the first point: neither says anything of the width
    this.sigma = better ? min(this.sigma * WIDEN, MOST_SIGMA) : max(this.sigma * NARROW, LEAST_SIGMA);
  }

  /** Strikes a row off the pending ones and says whether it was there. */
  private strike(row: StaticArray<f64>): bool {
    for (let i = 0; i < this.pending.length; i++) {
      if (equal(this.pending[i], row)) {
        this.pending.splice(i, 1);
        return true;
      }
    }
    return false;
  }

  /** Writes the candidate with the lowest finite objective told, the first of equals. */
  writeBest(x: usize, f: usize): i32 {
    const best = this.best;
    if (best == null) return 0;
    memory.copy(x, changetype<usize>(best), (this.config.dim as usize) << 3);
    store<f64>(f, this.bestF);
    return 1;
  }
}
