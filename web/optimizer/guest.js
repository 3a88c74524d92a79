// A guest as it comes: what is behind optimizer.js.
import { Exit, wasi } from "./wasi.js";

export class OptimizerError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "OptimizerError";
    this.code = code;
  }
}

export const defaults = { memoryBytes: 16 << 20, moduleBytes: 16 << 20, textBytes: 4096 };

const wasiModule = "wasi_snapshot_preview1";

// The functions of the interface, with how many parameters they take.
const functions = {
  opt_abi_version: 0, opt_alloc: 1, opt_free: 2, opt_create: 2, opt_ask: 2, opt_tell: 5, opt_best: 2, opt_info: 0, opt_last_error: 0,
};

// compile returns the WebAssembly.Module of a source, after a look at what it imports and exports.
export async function compile(source, limits = {}) {
  const { moduleBytes } = { ...defaults, ...limits };
  const module = source instanceof WebAssembly.Module ? source : await compileBytes(await read(source), moduleBytes);
  const names = Object.keys(wasi());
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (from !== wasiModule || kind !== "function" || !names.includes(name)) {
      throw refuse("unsupported", `imports ${plain(from)}.${plain(name)}, which plugins are not given`);
    }
  }
  const kinds = Object.fromEntries(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  if (kinds.memory !== "memory") {
    throw refuse("invalid", 'does not export its memory as "memory"');
  }
  for (const name of Object.keys(functions)) {
    if (kinds[name] !== "function") {
      throw refuse("invalid", `does not export the function ${name}`);
    }
  }
  return module;
}

// read returns the bytes of a source; a string is an address.
export async function read(source) {
  try {
    source = await (typeof source === "string" || source instanceof URL ? fetch(source) : source);
  } catch (e) {
    throw refuse("not_found", `cannot be loaded: ${plain(e.message)}`);
  }
  if (typeof Response !== "undefined" && source instanceof Response) {
    if (!source.ok) {
      throw refuse("not_found", `cannot be loaded: ${source.status} ${source.statusText}`);
    }
    source = await source.arrayBuffer();
  }
  if (!(source instanceof ArrayBuffer) && !ArrayBuffer.isView(source)) {
    throw refuse("invalid", "is neither bytes, nor a response, nor an address, nor a WebAssembly.Module");
  }
  return source;
}

async function compileBytes(bytes, most) {
  if (bytes.byteLength > most) {
    throw refuse("too_large", `has ${bytes.byteLength} bytes, at most ${most} are allowed`);
  }
  try {
    return await WebAssembly.compile(bytes);
  } catch (e) {
    throw refuse("invalid", `is not a valid module: ${plain(e.message)}`);
  }
}

// refuse is an error about the guest.
export function refuse(code, message) {
  return new OptimizerError(code, "plugin: " + message);
}

// plain is text without what could change how the rest is shown.
function plain(text) {
  return String(text).replace(/\p{C}+/gu, " ").trim();
}

// Instance is a started guest, and everything that crosses its border. After a trap or a broken rule it is dead for good.
export class Instance {
  dead; // why nothing can be called any more
  #exports;
  #limits;
  #log = { text: "" };

  static async start(module, seed, limits) {
    const instance = new Instance();
    instance.#limits = limits;
    const imports = { [wasiModule]: wasi(() => instance.#exports.memory, seed, instance.#log) };
    try {
      instance.#exports = (await WebAssembly.instantiate(module, imports)).exports;
    } catch (e) {
      throw refuse("invalid", `cannot be started: ${plain(e.message)}`);
    }
    if (!(instance.#exports.memory.buffer instanceof ArrayBuffer)) {
      throw refuse("unsupported", "uses threads (shared memory), which plugins cannot");
    }
    for (const [name, parameters] of Object.entries(functions)) {
      if (instance.#exports[name].length !== parameters) {
        throw refuse("invalid", `exports ${name} with a type that is not the interface's`);
      }
    }
    if (instance.#exports._initialize) {
      instance.#call("_initialize", [], "undefined");
    }
    const major = instance.#call("opt_abi_version", []) >>> 16;
    if (major !== 1) {
      throw refuse("unsupported", `speaks version ${major} of the guest interface, only version 1 is known`);
    }
    return instance;
  }

  // check throws why the instance is dead, if it is.
  check() {
    if (this.dead) {
      throw this.dead;
    }
  }

  // end closes the instance, and returns why it was first closed.
  end(why) {
    this.dead ??= why;
    this.#exports = undefined;
    return this.dead;
  }

  broke(message) {
    return this.end(refuse("invalid", "breaks the rules: " + message));
  }

  // describe is opt_info.
  describe() {
    let info;
    try {
      info = JSON.parse(this.#text("opt_info"));
    } catch (e) {
      throw this.dead ?? refuse("invalid", "describes itself with something that is not the JSON of opt_info");
    }
    const count = (v) => (Number.isInteger(v) && v > 0 ? v : 0);
    const name = plain(info?.name ?? "");
    if (name === "") {
      throw refuse("invalid", "describes itself without a name");
    }
    return {
      name, version: plain(info.version ?? ""), wantsAux: info.wants_aux === true,
      maxDim: count(info.max_dim), preferredBatch: count(info.preferred_batch),
    };
  }

  // ask calls a function that answers with a count, or refuses with a number below 0.
  ask(name, ...args) {
    const result = this.#call(name, args);
    if (Number.isInteger(result) && result >= 0) {
      return result;
    }
    const code = ["invalid", "unsupported", "invalid", "too_large", "internal"][-1 - result];
    if (!code) {
      throw this.broke(`${name} returned ${result}`);
    }
    const why = refuse(code, `refuses ${name} (${result}): ${plain(this.#text("opt_last_error")) || "without a reason"}`);
    throw result <= -4 ? this.end(why) : why;
  }

  // lend takes n bytes of the guest's memory for the time of use, which gets their address, and returns what use returns.
  lend(n, use) {
    if (n > this.#limits.memoryBytes) {
      throw refuse("too_large", `would have to be handed ${n} bytes at once, which is more than its memory`);
    }
    const at = this.#call("opt_alloc", [n]) >>> 0;
    if (at === 0) {
      throw this.end(refuse("too_large", `has no memory for ${n} bytes${this.#said()}`));
    }
    const size = this.#exports.memory.buffer.byteLength;
    if (at % 8 !== 0 || at + n > size) {
      throw this.broke(`opt_alloc returned ${at} for ${n} bytes; the memory has ${size}, and addresses are divisible by 8`);
    }
    try {
      return use(at);
    } finally {
      if (!this.dead) {
        this.#call("opt_free", [at, n], "undefined");
      }
    }
  }

  // bytes and floats are views of memory that lend has checked. The next call into the guest may leave them behind.
  bytes(at, n) {
    return new Uint8Array(this.#exports.memory.buffer, at, n);
  }

  floats(at, n) {
    return new Float64Array(this.#exports.memory.buffer, at, n);
  }

  #call(name, args, type = "number") {
    this.check();
    let result;
    try {
      result = this.#exports[name](...args);
    } catch (e) {
      const what = e instanceof Exit ? `${e.message} in ${name}` : `failed in ${name}: ${plain(e.message)}`;
      throw this.end(refuse("invalid", what + this.#said()));
    }
    if (typeof result !== type) {
      throw this.broke(`${name} has a type that is not the interface's`);
    }
    const size = this.#exports.memory.buffer.byteLength;
    if (size > this.#limits.memoryBytes) {
      throw this.end(refuse("too_large", `has taken ${size} bytes of memory, at most ${this.#limits.memoryBytes} are allowed`));
    }
    return result;
  }

  // room is how many candidates of dim weights fill a quarter of the memory.
  room(dim) {
    return Math.max(1, Math.floor(this.#limits.memoryBytes / 4 / (8 * dim)));
  }

  // text is what opt_info and opt_last_error point to.
  #text(name) {
    const at = BigInt.asUintN(64, this.#call(name, [], "bigint"));
    const p = Number(at >> 32n), n = Number(at & 0xffffffffn);
    if (n > this.#limits.textBytes || p + n > this.#exports.memory.buffer.byteLength) {
      throw this.broke(`${name} returned a text of ${n} bytes at ${p}, which is too long or outside the memory`);
    }
    return new TextDecoder().decode(this.bytes(p, n));
  }

  #said() {
    return this.#log.text && `; it wrote: ${plain(this.#log.text)}`;
  }
}
