// What browser_test.go calls in the page.
import { compile, Optimizer } from "/optimizer.js";
import { RemoteOptimizer } from "/remote.js";
import { endless, guest, i32Const, local, recurse } from "./guests.js";
import { replay } from "./replay.js";

const problem = { dim: 2, lower: [-1, -1], upper: [1, 1], budget: 9, batch: 3 };

globalThis.test = {
  // replays runs every case in this thread and in a worker, and returns what was measured.
  async replays() {
    const { cases } = await (await fetch("/vectors.json")).json();
    const start = performance.now();
    const module = await compile("/guest.wasm");
    const report = { cases: cases.length, compile: performance.now() - start, page: {}, worker: {} };
    for (const c of cases) {
      report.page[c.name] = await replay((p, options) => Optimizer.open(module, p, { options }), c);
      report.worker[c.name] = await replay((p, options) => RemoteOptimizer.open(module, p, { options }), c);
    }
    return report;
  },

  // ends runs guests that do not return, or worse, and returns how each call ended: its code, or what it returned.
  async ends() {
    const results = {};
    const outcome = async (name, promise) => {
      const start = performance.now();
      const text = await promise.then(JSON.stringify, (e) => `${e.name} ${e.code}: ${e.message}`);
      results[name] = { text, time: performance.now() - start };
    };
    const open = (bodies, options = {}) => RemoteOptimizer.open(guest({ bodies }), problem, { ...options });
    const times = { call: 100 };

    const spinning = await open({ opt_ask: endless }, { times });
    await outcome("endless ask", spinning.ask(1));
    await outcome("after it", spinning.ask(1));
    await outcome("endless start", open({ opt_create: endless }, { times: { start: 500 } }));

    const closing = await open({ opt_ask: endless });
    const asked = closing.ask(1);
    closing.close();
    await outcome("closed while asking", asked);
    await outcome("closed", closing.best());

    const recursing = await open({ opt_ask: recurse(4, local(0), local(1)) });
    await outcome("recursion", recursing.ask(1));
    await outcome("no module", RemoteOptimizer.open(new Uint8Array(9), problem));
    await outcome("no guest", RemoteOptimizer.open("/nothing.wasm", problem));
    await outcome("refused", RemoteOptimizer.open("/guest.wasm", problem, { options: { optimizer: "adam" } }));

    const fine = await RemoteOptimizer.open("/guest.wasm", problem, { options: { optimizer: "random" } });
    await outcome("asked for 0", fine.ask(0));
    await outcome("asked", fine.ask(1));
    await outcome("told", fine.tell([[0, 0]], [{ objective: 1 }]));
    await outcome("best", fine.best());
    await outcome("info", Promise.resolve(fine.info().name));
    fine.close();
    await outcome("internal error", open({ opt_create: i32Const(-5) }));
    return results;
  },
};
