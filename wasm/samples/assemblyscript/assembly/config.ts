// Reads what opt_create is told: a JSON object (RFC 8259). Members that are not known are skipped.

import { BAD_ARGUMENT, UNSUPPORTED, refusal, refuse } from "./refusal";

/** The problem to search. */
export class Config {
  dim: i32 = 0; // weights of a candidate
  budget: i32 = 0; // candidates in all
  batch: i32 = 0; // the most that are evaluated at once, a hint for the size of rounds
  seed: u64 = 0; // everything random comes from it
  lower: f64[] = []; // [dim], inclusive
  upper: f64[] = []; // [dim], inclusive
  init: f64[] = []; // [dim] or empty, the point to start from
  l1: f64 = 0; // the objective holds l1 * sum(|w|)
  aux: i32 = 0; // log-probabilities that a score carries
  groups: f64[] = []; // how many of them belong to each example, in order; empty if that is not known

  check(): bool {
    if (this.dim < 1 || this.dim > 10_000) return no("dim must be from 1 to 10000");
    if (this.budget < 1 || this.budget > 100_000) return no("budget must be from 1 to 100000");
    if (this.batch < 1) return no("batch must be at least 1");
    if (this.lower.length != this.dim || this.upper.length != this.dim) return no("lower and upper must have dim values");
    if (this.l1 < 0) return no("l1 must be 0 or more");
    for (let i = 0; i < this.dim; i++) {
      if (this.lower[i] > this.upper[i]) return no("a lower bound is above the upper one");
    }
    if (this.init.length != 0 && this.init.length != this.dim) return no("init must have dim values");
    // The search starts at 0, or the bound nearest to it. For another start the host tells that point before it asks.
    for (let i = 0; i < this.init.length; i++) {
      if (this.init[i] != min(max(0.0, this.lower[i]), this.upper[i])) return no("init: the search starts at zero", UNSUPPORTED);
    }
    let total: f64 = 0;
    for (let i = 0; i < this.groups.length; i++) total += this.groups[i];
    if (this.groups.length != 0 && total != this.aux) return no("aux is not the sum of the groups");
    return true;
  }
}

function no(why: string, code: i32 = BAD_ARGUMENT): bool {
  refuse(code, why);
  return false;
}

/** Returns what the n bytes at json say, or null, and then refusal says why. */
export function readConfig(json: usize, n: u32): Config | null {
  const config = new Config();
  const r = new Reader(json, json + n);
  r.config(config);
  r.end();
  return !r.failed && config.check() ? config : null;
}

const QUOTE: u8 = 0x22;
const BACKSLASH: u8 = 0x5c;
const BRACKET: u8 = 0x5b; // its closing one is 2 further, and so is a brace's
const BRACE: u8 = 0x7b;
const COMMA: u8 = 0x2c;
const COLON: u8 = 0x3a;
const MINUS: u8 = 0x2d;
const PLUS: u8 = 0x2b;
const DOT: u8 = 0x2e;
const ZERO: u8 = 0x30;

const MAX_DEPTH = 64;

function isSpace(c: u8): bool {
  return c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d;
}

/** Whether the n bytes at an address are a word of ASCII. */
function is(at: usize, n: usize, word: string): bool {
  if (n != <usize>word.length) return false;
  for (let i = 0; i < word.length; i++) {
    if (load<u8>(at + i) != word.charCodeAt(i)) return false;
  }
  return true;
}

/** Reads from an address to another. It keeps its first refusal; after it there is nothing more to read. */
class Reader {
  failed: bool = false;
  // The last decimal: digits times a power of ten, as far as they fit.
  private negative: bool = false;
  private whole: bool = false;
  private fits: bool = false;
  private digits: u64 = 0;
  private power: i32 = 0;

  constructor(private at: usize, private stop: usize) {}

  private fail(code: i32, why: string): void {
    if (!this.failed) refuse(code, why);
    this.failed = true;
    this.at = this.stop;
  }

  private wrong(): void {
    this.fail(BAD_ARGUMENT, "the configuration is not the JSON that is expected");
  }

  /** The next byte, 0 at the end. */
  private peek(): u8 {
    return this.at < this.stop ? load<u8>(this.at) : 0;
  }

  /** The next byte that is not white space. */
  private next(): u8 {
    while (this.at < this.stop && isSpace(this.peek())) this.at++;
    return this.peek();
  }

  private take(c: u8): bool {
    if (this.next() != c || this.at == this.stop) return false;
    this.at++;
    return true;
  }

  private want(c: u8): void {
    if (!this.take(c)) this.wrong();
  }

  end(): void {
    this.next();
    if (this.at != this.stop) this.wrong();
  }

  /** Steps to an item of an array or object: `for (let i = 0; r.more(BRACKET, i); i++)` runs once for each. */
  private more(bracket: u8, i: i32): bool {
    if (i == 0) this.want(bracket);
    if (this.take(bracket + 2)) return false;
    if (i > 0) this.want(COMMA);
    return !this.failed;
  }

  config(c: Config): void {
    for (let i = 0; this.more(BRACE, i); i++) {
      this.next();
      const name = this.at + 1; // behind the quote
      const n = this.string();
      this.want(COLON);
      if (is(name, n, "dim")) c.dim = this.integer();
      else if (is(name, n, "budget")) c.budget = this.integer();
      else if (is(name, n, "batch")) c.batch = this.integer();
      else if (is(name, n, "seed")) c.seed = this.seed();
      else if (is(name, n, "lower")) c.lower = this.numbers();
      else if (is(name, n, "upper")) c.upper = this.numbers();
      else if (is(name, n, "init")) c.init = this.numbers();
      else if (is(name, n, "l1")) c.l1 = this.number();
      else if (is(name, n, "aux")) c.aux = this.integer();
      else if (is(name, n, "groups")) c.groups = this.integers();
      else if (is(name, n, "options")) this.options();
      else this.skip(MAX_DEPTH);
    }
  }

  private options(): void {
    for (let i = 0; this.more(BRACE, i); i++) this.fail(UNSUPPORTED, "options: this plugin has none");
  }

  /** Reads a string and returns its length as it is written: what is told here has no escapes, so they are passed over. */
  private string(): usize {
    this.want(QUOTE);
    const from = this.at;
    while (this.at < this.stop && this.peek() != QUOTE) {
      this.at += this.peek() == BACKSLASH && this.stop - this.at > 1 ? 2 : 1;
    }
    const n = this.at - from;
    this.want(QUOTE);
    return n;
  }

  private isDigit(): bool {
    return this.peek() - ZERO <= 9;
  }

  /** Reads digits and returns how many. */
  private moreDigits(): i32 {
    let n = 0;
    for (; this.isDigit(); this.at++, n++) {
      const digit = <u64>(this.peek() - ZERO);
      this.fits = this.fits && this.digits <= (u64.MAX_VALUE - digit) / 10;
      this.digits = this.digits * 10 + digit;
    }
    return n;
  }

  private decimal(): void {
    this.digits = 0;
    this.power = 0;
    this.fits = true;
    this.whole = true;
    this.negative = this.take(MINUS);
    if (this.moreDigits() == 0) this.wrong();
    if (this.peek() == DOT) {
      this.at++;
      this.whole = false;
      this.power = -this.moreDigits();
      if (this.power == 0) this.wrong();
    }
    if ((this.peek() | 0x20) == 0x65) {
      this.at++;
      this.whole = false;
      this.exponent();
    }
  }

  private exponent(): void {
    const below = this.peek() == MINUS;
    if (below || this.peek() == PLUS) this.at++;
    if (!this.isDigit()) this.wrong();
    let power = 0;
    for (; this.isDigit(); this.at++) {
      if (power < 400) power = power * 10 + (this.peek() - ZERO); // beyond every number
    }
    this.power += below ? -power : power;
  }

  /**
   * Reads what two exact numbers and one rounding give: digits up to 2^53 and powers of ten up to 22 (Clinger, "How to read floating point
   * numbers accurately", 1990). The language's own parseFloat may be off by the last bit, and bounds and penalties have few digits.
   */
  private number(): f64 {
    this.decimal();
    const power = abs(this.power);
    const zero = this.digits == 0 && this.fits;
    if (!zero && (!this.fits || this.digits > <u64>1 << 53 || power > 22)) {
      this.fail(UNSUPPORTED, "the configuration has a number of more than 15 digits, or too large or small for this plugin");
      return 0;
    }
    let ten: f64 = 1;
    if (!zero) for (let i = 0; i < power; i++) ten *= 10;
    const digits = <f64>this.digits;
    const v = this.power < 0 ? digits / ten : digits * ten;
    return this.negative ? -v : v;
  }

  private integer(): i32 {
    this.decimal();
    if (this.negative || !this.whole || !this.fits || this.digits > <u64>i32.MAX_VALUE) {
      this.wrong();
      return 0;
    }
    return <i32>this.digits;
  }

  /** An unsigned 64-bit number as text, as JSON's numbers do not hold one everywhere. */
  private seed(): u64 {
    this.want(QUOTE);
    this.digits = 0;
    this.fits = true;
    if (this.moreDigits() == 0 || !this.fits || this.peek() != QUOTE) this.wrong();
    this.want(QUOTE);
    return this.digits;
  }

  private numbers(): f64[] {
    const all: f64[] = [];
    for (let i = 0; this.more(BRACKET, i); i++) all.push(this.number());
    return all;
  }

  private integers(): f64[] {
    const all: f64[] = [];
    for (let i = 0; this.more(BRACKET, i); i++) all.push(this.integer());
    return all;
  }

  /** Passes over a value of any type, within which there may be arrays and objects up to a depth. */
  private skip(depth: i32): void {
    if (depth == 0) this.fail(BAD_ARGUMENT, "the configuration has too many arrays or objects within each other");
    const c = this.next();
    if (c == QUOTE) {
      this.string();
    } else if (c == BRACKET) {
      for (let i = 0; this.more(BRACKET, i); i++) this.skip(depth - 1);
    } else if (c == BRACE) {
      for (let i = 0; this.more(BRACE, i); i++) {
        this.string();
        this.want(COLON);
        this.skip(depth - 1);
      }
    } else if (!this.word("true") && !this.word("false") && !this.word("null")) {
      this.decimal();
    }
  }

  private word(word: string): bool {
    const n = <usize>word.length;
    if (this.stop - this.at < n || !is(this.at, n, word)) return false;
    this.at += n;
    return true;
  }
}
