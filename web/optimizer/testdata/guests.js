// guest assembles a small WebAssembly module that implements the guest interface, to misbehave where a test says so. A function is the
// bytes of its instructions without the end; the helpers below write some.

const i32 = 0x7f, i64 = 0x7e, f64 = 0x7c;

export function i32Const(v) {
  return [0x41, ...signed(BigInt(v))];
}

export function i64Const(v) {
  return [0x42, ...signed(BigInt(v))];
}

export function local(i) {
  return [0x20, i];
}

// store writes the number v to the address that the local i holds.
export function store(i, v) {
  const bytes = new Uint8Array(new Float64Array([v]).buffer);
  return [...local(i), 0x44, ...bytes, 0x39, 3, 0];
}

export const unreachable = [0x00];
export const endless = [0x03, 0x40, 0x0c, 0, 0x0b, ...unreachable];
export const grow = (pages) => [...i32Const(pages), 0x40, 0, 0x1a];
export const recurse = (f, ...args) => [...args.flat(), 0x10, f];

const infoAt = 2048, errorAt = 3072, memoryPages = 2;

const pointer = (at, text) => i64Const((BigInt(at) << 32n) | BigInt(new TextEncoder().encode(text).length));

// The order is that of the function indices, if nothing is imported.
const types = {
  opt_abi_version: [[], [i32]], opt_alloc: [[i32], [i32]], opt_free: [[i32, i32], []], opt_create: [[i32, i32], [i32]], opt_ask: [[i32, i32], [i32]],
  opt_tell: [[i32, i32, i32, i32, i32], [i32]], opt_best: [[i32, i32], [i32]], opt_info: [[], [i64]], opt_last_error: [[], [i64]],
};

// guest returns the module's bytes. bodies replaces functions, null leaves one out; types replaces their types; imports are
// [module, name, parameters, results].
export function guest({ bodies = {}, types: otherTypes = {}, imports = [], memory = [1, memoryPages, 200], info = '{"name":"small"}', error = "no" } = {}) {
  const all = {
    opt_abi_version: i32Const(1 << 16), opt_alloc: i32Const(1024), opt_free: [], opt_create: i32Const(0), opt_ask: i32Const(1),
    opt_tell: i32Const(0), opt_best: i32Const(0), opt_info: pointer(infoAt, info), opt_last_error: pointer(errorAt, error), ...bodies,
  };
  const names = Object.keys(all).filter((name) => all[name] !== null);
  const signatures = [...imports.map(([, , parameters, results]) => [parameters, results]), ...names.map((name) => otherTypes[name] ?? types[name])];
  const data = (at, text) => [0, ...i32Const(at), 0x0b, ...string(text)];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, signatures.map(([parameters, results]) => [0x60, ...vector(parameters), ...vector(results)])),
    ...section(2, imports.map(([module, name], i) => [...string(module), ...string(name), 0, i])),
    ...section(3, names.map((_, i) => [i + imports.length])),
    ...section(5, [memory.flatMap((v, i) => (i === 0 ? v : unsigned(v)))]),
    ...section(7, [[...string("memory"), 2, 0], ...names.map((name, i) => [...string(name), 0, i + imports.length])]),
    ...section(10, names.map((name) => sized([0, ...all[name], 0x0b]))),
    ...section(11, [data(infoAt, info), data(errorAt, error)]),
  ]);
}

export const params = { i32, i64, f64 };

function section(id, items) {
  return [id, ...sized([...unsigned(items.length), ...items.flat()])];
}

function sized(bytes) {
  return [...unsigned(bytes.length), ...bytes];
}

function vector(bytes) {
  return sized(bytes);
}

function string(text) {
  return sized([...new TextEncoder().encode(text)]);
}

function unsigned(v) {
  const bytes = [];
  for (; v > 127; v >>>= 7) {
    bytes.push((v & 127) | 128);
  }
  return [...bytes, v];
}

// signed is the LEB128 of a BigInt, read as 64 bits.
function signed(v) {
  const bytes = [];
  v = BigInt.asIntN(64, v);
  for (; v < -64n || v > 63n; v >>= 7n) {
    bytes.push(Number(v & 127n) | 128);
  }
  return [...bytes, Number(v & 127n)];
}
