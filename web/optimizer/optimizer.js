// Optimizers in WebAssembly, for a page or for Node: a .wasm file that implements the guest interface (package wasm/host describes it),
// such as wasm/guest/guest.wasm, becomes an Optimizer. Every answer of a guest is checked before it is believed. What JavaScript cannot do
// is stop a guest that does not return: run one that you do not trust with remote.js.
//
// optimizer.d.ts describes what is exported here.
import { compile, defaults, Instance, OptimizerError, read, refuse } from "./guest.js";

export { compile, OptimizerError, read };

export class Optimizer {
  #instance; // see Instance
  #problem;
  #info;
  #asked = 0;
  #pending = [];
  #best; // {weights, objective, observed} with the lowest finite objective told

  // open starts the guest of a source on a problem.
  static async open(source, problem, { options = {}, limits = {} } = {}) {
    const p = checkProblem(problem);
    const o = new Optimizer();
    o.#problem = p;
    o.#instance = await Instance.start(await compile(source, limits), p.seed, { ...defaults, ...limits });
    o.#info = o.#instance.describe();
    if (o.#info.maxDim > 0 && p.dim > o.#info.maxDim) {
      throw new OptimizerError("unsupported", `dim: ${o.#info.name} takes up to ${o.#info.maxDim} weights, got ${p.dim}`);
    }
    const config = {
      ...p, seed: String(p.seed), init: p.lower.map((lower, i) => Math.min(Math.max(0, lower), p.upper[i])),
      aux: p.groups.reduce((sum, n) => sum + n, 0), options,
    };
    const text = new TextEncoder().encode(JSON.stringify(config));
    o.#instance.lend(text.length, (at) => {
      o.#instance.bytes(at, text.length).set(text);
      o.#instance.ask("opt_create", at, text.length);
    });
    return o;
  }

  info() {
    return { ...this.#info };
  }

  // ask returns at most n candidates, and none when the search is over.
  ask(n) {
    this.#instance.check();
    if (!Number.isInteger(n) || n < 1) {
      throw wrong("n", `asked for ${n} candidates`);
    }
    if (this.#pending.length > 0) {
      throw new OptimizerError("invalid", `asked again before ${this.#pending.length} candidates were answered`);
    }
    const { dim, budget } = this.#problem;
    const k = Math.min(n, budget - this.#asked, this.#instance.room(dim));
    if (k === 0) {
      return [];
    }
    const candidates = this.#instance.lend(8 * k * dim, (at) => {
      const j = this.#instance.ask("opt_ask", at, k);
      if (j > k) {
        throw this.#instance.broke(`opt_ask returned ${j} candidates when asked for ${k}`);
      }
      return Array.from({ length: j }, (_, i) => this.#fit("opt_ask proposed", this.#instance.floats(at + 8 * i * dim, dim)));
    });
    this.#asked += candidates.length;
    this.#pending = candidates.map((c) => [...c]);
    return candidates;
  }

  // tell gives the scores of candidates, asked ones or others.
  tell(candidates, scores) {
    this.#instance.check();
    this.#checkTold(candidates, scores);
    const k = candidates.length;
    if (k === 0) {
      return;
    }
    const rows = scores.map((s) => (this.#info.wantsAux ? (s.logProbs ?? []).flat() : []));
    const m = rows.reduce((most, row) => Math.max(most, row.length), 0);
    const aux = rows.flatMap((row) => (row.length === m ? row : new Array(m).fill(NaN)));
    const numbers = [...candidates.flat(), ...scores.map((s) => s.objective), ...aux];
    const { dim } = this.#problem;
    this.#instance.lend(8 * numbers.length, (at) => {
      this.#instance.floats(at, numbers.length).set(numbers);
      const f = at + 8 * k * dim;
      this.#instance.ask("opt_tell", at, f, k, m > 0 ? f + 8 * k : 0, m);
    });
    candidates.forEach((c, i) => {
      const answered = this.#pending.findIndex((p) => p.every((v, j) => v === c[j]));
      if (answered >= 0) {
        this.#pending.splice(answered, 1);
      }
      const { objective } = scores[i];
      if (Number.isFinite(objective) && !(this.#best?.objective <= objective)) {
        this.#best = { weights: [...c], objective, observed: true };
      }
    });
  }

  // best returns what the guest chooses, or the best candidate told if the guest has no choice or is dead; undefined before the first.
  best() {
    const told = this.#best && { ...this.#best, weights: [...this.#best.weights] };
    if (!told || this.#instance.dead) {
      return told;
    }
    const { dim } = this.#problem;
    return this.#instance.lend(8 * (dim + 1), (at) => {
      const j = this.#instance.ask("opt_best", at, at + 8 * dim);
      if (j > 2) {
        throw this.#instance.broke(`opt_best returned ${j}`);
      }
      if (j === 0) {
        return told;
      }
      const [objective] = this.#instance.floats(at + 8 * dim, 1);
      return { weights: this.#fit("opt_best chose", this.#instance.floats(at, dim)), objective, observed: j === 1 };
    });
  }

  // close ends the guest; best still answers.
  close() {
    this.#instance.end(refuse("canceled", "is closed"));
  }

  // fit checks a candidate of the guest and returns it within the bounds: what rounding explains is clipped.
  #fit(did, numbers) {
    const { lower, upper } = this.#problem;
    return Array.from(numbers, (v, i) => {
      const slack = 1e-9 * (1 + Math.max(Math.abs(lower[i]), Math.abs(upper[i])));
      if (!Number.isFinite(v)) {
        throw this.#instance.broke(`${did} a candidate whose weight ${i + 1} is not a finite number`);
      }
      if (v < lower[i] - slack || v > upper[i] + slack) {
        throw this.#instance.broke(`${did} a candidate whose weight ${i + 1} is outside its bounds`);
      }
      return Math.min(Math.max(v, lower[i]), upper[i]);
    });
  }

  #checkTold(candidates, scores) {
    const { dim, lower, upper } = this.#problem;
    if (!Array.isArray(candidates) || !Array.isArray(scores) || candidates.length !== scores.length) {
      throw new OptimizerError("invalid", `told ${candidates?.length} candidates with ${scores?.length} scores`);
    }
    candidates.forEach((c, i) => {
      if (!isNumbers(c) || c.length !== dim) {
        throw wrong("candidates", `candidate ${i + 1} is not a list of ${dim} numbers`);
      }
      const outside = c.findIndex((v, j) => !(v >= lower[j] && v <= upper[j]));
      if (outside >= 0) {
        throw wrong("candidates", `weight ${outside + 1} of candidate ${i + 1} is outside the bounds`);
      }
      const { objective, logProbs = [] } = scores[i] ?? {};
      if (typeof objective !== "number") {
        throw wrong("scores", `score ${i + 1} has no objective`);
      }
      if (!Array.isArray(logProbs) || !isNumbers(logProbs.flat())) {
        throw wrong("scores", `the log-probabilities of score ${i + 1} are not lists of numbers`);
      }
    });
  }
}

function wrong(field, message) {
  return new OptimizerError("invalid", field + ": " + message);
}

function isNumbers(list) {
  return Array.isArray(list) && list.every((v) => typeof v === "number");
}

// checkProblem returns the problem with its defaults, as package shared/search checks it.
function checkProblem({ dim, lower, upper, budget, batch = 1, seed = 0, l1 = 0, groups = [] } = {}) {
  const integer = (name, v, least, most) => {
    if (!Number.isInteger(v) || v < least || v > most) {
      throw wrong(name, `must be an integer from ${least} to ${most}, got ${v}`);
    }
  };
  integer("dim", dim, 1, 10_000);
  integer("budget", budget, 1, 100_000);
  integer("batch", batch, 1, 2 ** 31 - 1);
  for (const [name, bounds] of [["lower", lower], ["upper", upper]]) {
    if (!isNumbers(bounds) || bounds.length !== dim || !bounds.every(Number.isFinite)) {
      throw wrong(name, `is not a list of ${dim} finite numbers`);
    }
  }
  const above = lower.findIndex((v, i) => v > upper[i]);
  if (above >= 0) {
    throw wrong("lower", `value ${above + 1} is above the upper bound`);
  }
  if (!Number.isFinite(l1) || l1 < 0) {
    throw wrong("l1", "must be a finite number, 0 or more");
  }
  if (!Array.isArray(groups)) {
    throw wrong("groups", "is not a list of numbers");
  }
  groups.forEach((n) => integer("groups", n, 0, 2 ** 31 - 1));
  return { dim, lower: [...lower], upper: [...upper], budget, batch, seed: parseSeed(seed), l1, groups: [...groups] };
}

// parseSeed takes a bigint, digits, or a number that is exact.
function parseSeed(seed) {
  const exact = typeof seed === "bigint" || Number.isSafeInteger(seed) || (typeof seed === "string" && /^[0-9]+$/.test(seed));
  if (!exact || BigInt.asUintN(64, BigInt(seed)) !== BigInt(seed)) {
    throw wrong("seed", "is not a whole number of 64 bits without a sign");
  }
  return BigInt(seed);
}
