// Tests of optimizer.js under Node: node --test web/optimizer/testdata/optimizer.test.js. VECTORS names a file of more vectors to replay;
// TestNode of node_test.go runs this with all algorithms.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compile, Optimizer, OptimizerError } from "../optimizer.js";
import { grow, guest, i32Const, i64Const, local, params, recurse, store, unreachable } from "./guests.js";
import { replay } from "./replay.js";

const builtin = readFileSync(new URL("../../../wasm/guest/guest.wasm", import.meta.url));
const { i32, i64, f64 } = params;

const problem = { dim: 2, lower: [-1, -1], upper: [1, 1], budget: 9, batch: 3, seed: 7 };

test("asks for the candidates that were recorded", async () => {
  const file = process.env.VECTORS ?? new URL("../../../wasm/guest/testdata/vectors.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(file, "utf8"));
  assert(cases.length >= 3);
  const module = await compile(builtin);
  for (const c of cases) {
    const { opened, perCandidate } = await replay((p, options) => Optimizer.open(module, p, { options }), c);
    console.log(`# ${c.name}: started in ${opened.toFixed(1)} ms, ${(1000 * perCandidate).toFixed(0)} µs per candidate`);
  }
});

test("says what the guest is", async () => {
  const o = await Optimizer.open(builtin, problem);
  assert.deepEqual(o.info(), { name: "medley", version: "1", wantsAux: true, maxDim: 10_000, preferredBatch: 8 });
});

test("takes every kind of source", async () => {
  const bytes = guest();
  const address = "data:application/wasm;base64," + Buffer.from(bytes).toString("base64");
  for (const source of [bytes, bytes.buffer, await WebAssembly.compile(bytes), new Response(bytes), Promise.resolve(new Response(bytes)), address, new URL(address)]) {
    assert.equal((await Optimizer.open(source, problem)).info().name, "small");
  }
});

const refused = (code, message) => (e) => {
  assert(e instanceof OptimizerError, e);
  assert.equal(e.code, code, e.message);
  assert.match(e.message, message);
  return true;
};

test("refuses what is no problem", async () => {
  for (const [change, message] of [
    [{ dim: 0 }, /^dim: must be an integer from 1 to 10000, got 0/], [{ dim: 1.5 }, /^dim/], [{ dim: "2" }, /^dim/],
    [{ lower: [0] }, /^lower: is not a list of 2/], [{ upper: [0, Infinity] }, /^upper/], [{ lower: [0, "0"] }, /^lower/],
    [{ lower: [0, 2] }, /^lower: value 2 is above/], [{ budget: 0 }, /^budget/], [{ batch: 0 }, /^batch/], [{ l1: -1 }, /^l1/], [{ l1: NaN }, /^l1/],
    [{ seed: -1 }, /^seed/], [{ seed: 2 ** 53 }, /^seed/], [{ seed: 1n << 64n }, /^seed/], [{ seed: "0x1" }, /^seed/],
    [{ groups: [1.5] }, /^groups/], [{ groups: 3 }, /^groups/],
  ]) {
    await assert.rejects(Optimizer.open(builtin, { ...problem, ...change }), refused("invalid", message));
  }
  await assert.rejects(Optimizer.open(builtin), refused("invalid", /^dim/));
  await assert.rejects(Optimizer.open(guest({ info: '{"name":"small","max_dim":1}' }), problem), refused("unsupported", /small takes up to 1 weights/));
  await Optimizer.open(builtin, { ...problem, seed: (1n << 64n) - 1n });
});

test("passes on what the guest refuses", async () => {
  await assert.rejects(Optimizer.open(builtin, problem, { options: { optimizer: "adam" } }), refused("unsupported", /"adam" is not one of/));
  const o = await Optimizer.open(guest({ bodies: { opt_ask: i32Const(-1) }, error: "not\u0000\u202e now" }), problem);
  assert.throws(() => o.ask(1), refused("invalid", /refuses opt_ask \(-1\): not +now/));
  assert.throws(() => o.ask(1), refused("invalid", /not +now/), "it may be asked again");
});

test("holds the caller to the rules", async () => {
  const o = await Optimizer.open(builtin, problem, { options: { optimizer: "random" } });
  assert.equal(o.best(), undefined);
  for (const n of [0, -1, 1.5, "1", undefined]) {
    assert.throws(() => o.ask(n), refused("invalid", /^n: asked for/));
  }
  const [a, b] = o.ask(2);
  assert.throws(() => o.ask(1), refused("invalid", /before 2 candidates were answered/));
  const score = { objective: 1 };
  for (const [candidates, scores, message] of [
    [[a], [], /told 1 candidates with 0 scores/], [undefined, [], /told/], [[[0]], [score], /^candidates/], [[[0, "0"]], [score], /^candidates/],
    [[[0, 2]], [score], /^candidates: weight 2 of candidate 1/], [[[0, NaN]], [score], /^candidates/], [[a], [{}], /^scores/], [[a], [null], /^scores/],
    [[a], [{ objective: 1, logProbs: "?" }], /^scores/], [[a], [{ objective: 1, logProbs: [["?"]] }], /^scores/],
  ]) {
    assert.throws(() => o.tell(candidates, scores), refused("invalid", message));
  }
  o.tell([[0.5, 0.5]], [{ objective: NaN }]);
  o.tell([b], [{ objective: 2, logProbs: [[-1], [-2, -3]] }]);
  assert.throws(() => o.ask(1), refused("invalid", /before 1 candidates were answered/));
  o.tell([a], [{ objective: 3, logProbs: [-1, -2, -3] }]);
  assert.deepEqual(o.best(), { weights: b, objective: 2, observed: true });
  o.tell(o.ask(100), Array(7).fill(score));
  assert.deepEqual(o.ask(1), []);
  o.close();
  assert.throws(() => o.ask(1), refused("canceled", /closed/));
  assert.equal(o.best().objective, 1, "what was told outlives the guest");
});

const half = new Uint8Array(new Float64Array([0.5]).buffer);

const bad = {
  "no module": [new Uint8Array(9), "invalid", /not a valid module/],
  "no bytes": [7, "invalid", /neither bytes/],
  "an address with nothing": ["data:nothing", "not_found", /cannot be loaded/],
  "a response that failed": [new Response("", { status: 404 }), "not_found", /404/],
  "an import of its own": [guest({ imports: [["env", "evil", [], []]] }), "unsupported", /imports env\.evil/],
  "an import beyond the capabilities": [guest({ imports: [["wasi_snapshot_preview1", "path_open", [], []]] }), "unsupported", /path_open/],
  "a name that hides": [guest({ imports: [["env", "a\u202eb", [], []]] }), "unsupported", /imports env\.a b/],
  "shared memory": [guest({ memory: [3, 2, 200] }), "unsupported", /shared memory/],
  "a missing function": [guest({ bodies: { opt_tell: null } }), "invalid", /does not export the function opt_tell/],
  "too few parameters": [guest({ types: { opt_ask: [[i32], [i32]] } }), "invalid", /exports opt_ask with a type/],
  "a parameter of another type": [guest({ types: { opt_alloc: [[i64], [i32]] } }), "invalid", /failed in opt_alloc/],
  "a result of another type": [guest({ bodies: { opt_info: i32Const(1) }, types: { opt_info: [[], [i32]] } }), "invalid", /opt_info has a type/],
  "a result that is a fraction": [guest({ bodies: { opt_create: [0x44, ...half] }, types: { opt_create: [[i32, i32], [f64]] } }), "invalid", /opt_create returned 0.5/],
  "version 2": [guest({ bodies: { opt_abi_version: i32Const(2 << 16) } }), "unsupported", /version 2/],
  "info that is no JSON": [guest({ info: "{" }), "invalid", /describes itself/],
  "info that is null": [guest({ info: "null" }), "invalid", /without a name/],
  "info outside the memory": [guest({ bodies: { opt_info: i64Const((1n << 49n) | 9n) } }), "invalid", /opt_info returned a text of 9 bytes at 131072/],
  "info without an end": [guest({ bodies: { opt_info: i64Const(0xffffffffn) } }), "invalid", /opt_info returned a text of 4294967295 bytes/],
  "a trap when it starts": [guest({ bodies: { _initialize: unreachable }, types: { _initialize: [[], []] } }), "invalid", /failed in _initialize: unreachable/],
  "no memory left": [guest({ bodies: { opt_alloc: i32Const(0) } }), "too_large", /no memory for/],
  "memory elsewhere": [guest({ bodies: { opt_alloc: i32Const(-8) } }), "invalid", /opt_alloc returned 4294967288/],
  "memory at its end": [guest({ bodies: { opt_alloc: i32Const(2 * 65536 - 8) } }), "invalid", /opt_alloc returned 131064/],
  "memory not aligned": [guest({ bodies: { opt_alloc: i32Const(1025) } }), "invalid", /opt_alloc returned 1025/],
  "an unknown refusal": [guest({ bodies: { opt_create: i32Const(-9) } }), "invalid", /opt_create returned -9/],
  "an end of the process": [
    guest({ imports: [["wasi_snapshot_preview1", "proc_exit", [i32], []]], bodies: { opt_create: [...i32Const(3), 0x10, 0, ...i32Const(0)] } }),
    "invalid", /ended itself with exit code 3 in opt_create/,
  ],
};

for (const [name, [source, code, message]] of Object.entries(bad)) {
  test(`refuses a guest with ${name}`, () => assert.rejects(Optimizer.open(source, problem), refused(code, message)));
}

test("refuses a module that is no guest", async () => {
  const empty = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  await assert.rejects(Optimizer.open(empty, problem), refused("invalid", /does not export its memory/));
  await assert.rejects(Optimizer.open(guest(), problem, { limits: { moduleBytes: 99 } }), refused("too_large", /at most 99 are allowed/));
});

const broken = {
  "a weight that is NaN": [[...store(0, NaN), ...i32Const(1)], "invalid", /weight 1 is not a finite number/],
  "a weight outside its bounds": [[...store(0, 1.1), ...i32Const(1)], "invalid", /weight 1 is outside its bounds/],
  "too many candidates": [i32Const(4), "invalid", /returned 4 candidates when asked for 3/],
  "a trap": [unreachable, "invalid", /failed in opt_ask: unreachable/],
  "recursion": [recurse(4, local(0), local(1)), "invalid", /failed in opt_ask: .*stack/i],
  "a grown memory": [[...grow(99), ...i32Const(1)], "too_large", /has taken 6619136 bytes of memory/],
  "an internal error": [i32Const(-5), "internal", /refuses opt_ask \(-5\)/],
};

for (const [name, [body, code, message]] of Object.entries(broken)) {
  test(`ends a guest after ${name}`, async () => {
    const o = await Optimizer.open(guest({ bodies: { opt_ask: body } }), problem, { limits: { memoryBytes: 4 << 20 } });
    o.tell([[0, 1]], [{ objective: 5 }]);
    assert.throws(() => o.ask(3), refused(code, message));
    assert.throws(() => o.ask(3), refused(code, message), "it stays dead");
    assert.throws(() => o.tell([], []), refused(code, message));
    assert.deepEqual(o.best(), { weights: [0, 1], objective: 5, observed: true });
  });
}

test("clips what rounding explains", async () => {
  const o = await Optimizer.open(guest({ bodies: { opt_ask: [...store(0, 1 + 1e-10), ...i32Const(1)] } }), problem);
  assert.equal(o.ask(1)[0][0], 1);
});

test("follows a memory that grows", async () => {
  const o = await Optimizer.open(guest({ bodies: { opt_ask: [...grow(1), ...store(0, 0.5), ...i32Const(1)] } }), problem);
  for (let i = 0; i < 5; i++) {
    const x = o.ask(1);
    assert.equal(x[0][0], 0.5);
    o.tell(x, [{ objective: i }]);
  }
});

test("takes the guest's choice, and checks it", async () => {
  for (const [j, weight, check] of [
    [1, 0.25, (o) => assert.deepEqual(o.best(), { weights: [0.25, 0], objective: 0, observed: true })],
    [2, 0.25, (o) => assert.equal(o.best().observed, false)],
    [3, 0.25, (o) => assert.throws(() => o.best(), refused("invalid", /opt_best returned 3/))],
    [1, 7, (o) => assert.throws(() => o.best(), refused("invalid", /opt_best chose .* outside its bounds/))],
  ]) {
    const o = await Optimizer.open(guest({ bodies: { opt_best: [...store(0, weight), ...i32Const(j)] } }), problem);
    o.tell([[0, 0]], [{ objective: 0 }]);
    check(o);
  }
});

test("quotes what a guest wrote before it died", async () => {
  // opt_create writes the text of opt_last_error to the standard error: a vector at 512, and the count at 520.
  const word = (at, v) => [...i32Const(at), ...i32Const(v), 0x36, 2, 0];
  const write = [...word(512, 3072), ...word(516, 5), ...[2, 512, 1, 520].flatMap(i32Const), 0x10, 0, 0x1a];
  const bytes = guest({ imports: [["wasi_snapshot_preview1", "fd_write", [i32, i32, i32, i32], [i32]]], bodies: { opt_create: [...write, ...unreachable] }, error: "ouch!" });
  await assert.rejects(Optimizer.open(bytes, problem), refused("invalid", /failed in opt_create: unreachable; it wrote: ouch!/));
});
