// RemoteOptimizer is an Optimizer in a Web Worker, which is ended when the guest in it overruns its time: for guests that are not trusted,
// and to leave the page's own thread alone. remote.d.ts describes it.
import { OptimizerError, read } from "./optimizer.js";

const defaults = { start: 30_000, call: 2_000 }; // milliseconds; the start includes the compilation
const loading = 30_000;

export class RemoteOptimizer {
  #worker;
  #waiting = new Map(); // {resolve, reject, timer} by request
  #requests = 0;
  #dead; // why nothing can be asked any more
  #info;
  #times;

  static async open(source, problem, { options = {}, limits = {}, times = {} } = {}) {
    const bytes = source instanceof WebAssembly.Module ? source : await read(source);
    const o = new RemoteOptimizer();
    o.#times = { ...defaults, ...times };
    o.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    o.#worker.onmessage = ({ data }) => o.#receive(data);
    o.#worker.onerror = (e) => o.#end(new OptimizerError("internal", e.message || "the worker did not start"));
    try {
      await o.#request("ready", [], loading); // the page's own script, whose loading says nothing about the guest
      o.#info = await o.#request("open", [bytes, problem, { options, limits }], o.#times.start);
    } catch (e) {
      o.close();
      throw e;
    }
    return o;
  }

  info() {
    return { ...this.#info };
  }

  ask(n) {
    return this.#request("ask", [n]);
  }

  tell(candidates, scores) {
    return this.#request("tell", [candidates, scores]);
  }

  best() {
    return this.#request("best", []);
  }

  // close ends the worker at once, and with it whatever runs in it.
  close() {
    this.#end(new OptimizerError("canceled", "the optimizer is closed"));
  }

  #request(call, args, time = this.#times.call) {
    if (this.#dead) {
      return Promise.reject(this.#dead);
    }
    return new Promise((resolve, reject) => {
      const id = this.#requests++;
      this.#worker.postMessage({ id, call, args });
      const timer = setTimeout(() => {
        this.#end(new OptimizerError("too_large", `plugin: was stopped: ${call} took longer than ${time} ms`));
      }, time);
      this.#waiting.set(id, { resolve, reject, timer });
    });
  }

  #receive({ id, result, error }) {
    const { resolve, reject, timer } = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(timer);
    if (error) {
      reject(new OptimizerError(error.code, error.message));
    } else {
      resolve(result);
    }
  }

  #end(why) {
    this.#dead ??= why;
    this.#worker.terminate();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(this.#dead);
    }
    this.#waiting.clear();
  }
}
