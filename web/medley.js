// Medley's engine for a page: it runs in a Web Worker of its own (worker.js), so nothing here blocks. What the functions take and
// give is described in cmd/page/main.go; promises are rejected with a MedleyError.

export class MedleyError extends Error {
  constructor({ message, code, field }) {
    super(message);
    this.name = "MedleyError";
    this.code = code;
    this.field = field;
  }
}

// open loads a base model. files is {path: Uint8Array}, options {backend}.
export async function open(files, options = {}) {
  const model = new Model(start());
  try {
    return Object.assign(model, await model.request("open", [files, options]));
  } catch (e) {
    model.close();
    throw e;
  }
}

// compose makes one adapter of modules [{files, weight}], in a worker of its own.
export async function compose(modules, options) {
  const engine = new Model(start());
  try {
    return await engine.request("compose", [modules, options]);
  } finally {
    engine.close();
  }
}

function start() {
  return new Worker(new URL("worker.js", import.meta.url), { type: "module" });
}

// Model is an open base model with backend, device, reason, candidates and maps.
class Model {
  #worker;
  #waiting = new Map(); // {resolve, reject, onToken} by request
  #requests = 0;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (e) => this.#end({ message: e.message || "the worker did not start", code: "internal", field: "" });
  }

  addModule(name, files) {
    return this.request("addModule", [name, files]);
  }

  tokens(examples) {
    return this.request("tokens", [examples]);
  }

  score(examples, weights, options = {}) {
    return this.request("score", [examples, weights, options]);
  }

  generate(inputs, weights, onToken, options = {}) {
    return this.request("generate", [inputs, weights, options], onToken);
  }

  // close ends the worker at once, and with it whatever runs; that is rejected as canceled.
  close() {
    this.#end({ message: "the model was closed", code: "canceled", field: "" });
  }

  request(call, args, onToken) {
    if (!this.#worker) {
      return Promise.reject(new MedleyError({ message: "the model is closed", code: "invalid", field: "" }));
    }
    return new Promise((resolve, reject) => {
      const id = this.#requests++;
      this.#worker.postMessage({ id, call, args });
      this.#waiting.set(id, { resolve, reject, onToken });
    });
  }

  #receive({ id, token, error, result, ended }) {
    if (ended) {
      this.#end({ message: "the engine stopped; the page may be out of memory", code: "internal", field: "" });
      return;
    }
    const { resolve, reject, onToken } = this.#waiting.get(id);
    if (token) {
      onToken?.(...token);
      return;
    }
    this.#waiting.delete(id);
    if (error) {
      reject(new MedleyError(error));
    } else {
      resolve(result);
    }
  }

  #end(error) {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) {
      reject(new MedleyError(error));
    }
    this.#waiting.clear();
  }
}
