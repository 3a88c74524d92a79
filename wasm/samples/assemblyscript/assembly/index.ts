// A plugin optimizer for Medley: the guest interface, version 1, over the algorithm in es.ts. To make a plugin of your own, replace that
// file and the text of opt_info.
//
// One instance of the module is one optimizer. Candidates are rows of dim numbers, f64, little-endian. The host promises that a pointer
// leads to as much memory as the call needs and that it comes from opt_alloc, 8-aligned.

import { readConfig } from "./config";
import { ES } from "./es";
import { BAD_ARGUMENT, BAD_STATE, refusal, refuse } from "./refusal";

let optimizer: ES | null = null;

const NOT_CREATED = "there is no optimizer yet: create one";

/** The version of the interface, major<<16 | minor. */
export function opt_abi_version(): i32 {
  return 1 << 16;
}

// Where 0 stands for no limit and no preference. Change the version with every change of the candidates: a recorded search resumes only
// with the one that began it.
const info = String.UTF8.encode('{"name":"es","version":"1","wants_aux":false,"max_dim":0,"preferred_batch":0}');

/** Text as the host reads it: pointer in the high half, length in the low one. Whoever calls it keeps the text. */
function lend(text: ArrayBuffer): u64 {
  return ((changetype<usize>(text) as u64) << 32) | text.byteLength;
}

/** Says what the plugin is. */
export function opt_info(): u64 {
  return lend(info);
}

/** Why the last refused call was refused. */
export function opt_last_error(): u64 {
  return lend(refusal.text);
}

/** Gives the host n bytes, 8-aligned, to write to; 0 if there cannot be so many. */
export function opt_alloc(n: u32): usize {
  return n > 1 << 29 ? 0 : heap.alloc(n);
}

/** Takes back what opt_alloc(n) returned. */
export function opt_free(p: usize, n: u32): void {
  if (p != 0) heap.free(p);
}

/** Makes the optimizer for the problem in n bytes of JSON. After a refusal it may be called again. */
export function opt_create(json: usize, n: u32): i32 {
  if (optimizer != null) return refuse(BAD_STATE, "there is an optimizer already: an instance holds one");
  const config = readConfig(json, n);
  if (config == null) return refusal.code;
  optimizer = new ES(config);
  return 0;
}

/** Writes at most k candidates to x [k * dim] and returns how many; 0 ends the search. */
export function opt_ask(x: usize, k: i32): i32 {
  const o = optimizer;
  if (o == null) return refuse(BAD_STATE, NOT_CREATED);
  if (k < 1) return refuse(BAD_ARGUMENT, "k must be at least 1");
  return o.ask(x, k);
}

/**
 * Takes the objectives f [k] of candidates x [k * dim], asked ones or others; NaN is a failed evaluation. With wants_aux in opt_info, aux
 * would be m log-probabilities of target tokens for each candidate, NaN where they are unknown.
 */
export function opt_tell(x: usize, f: usize, k: i32, aux: usize, m: i32): i32 {
  const o = optimizer;
  if (o == null) return refuse(BAD_STATE, NOT_CREATED);
  if (k < 0) return refuse(BAD_ARGUMENT, "k must be at least 0");
  return o.tell(x, f, k);
}

/** Writes the candidate to use to x [dim] and its objective to f: 1 if it was observed, 2 if it is predicted, 0 if there is none yet. */
export function opt_best(x: usize, f: usize): i32 {
  const o = optimizer;
  if (o == null) return refuse(BAD_STATE, NOT_CREATED);
  return o.writeBest(x, f);
}
