// What page_test.go calls in the page, by the global object test.
import { open } from "/medley.js";
import "/wasm_exec.js";

// read fetches the files of a folder, {path: Uint8Array}.
async function read({ folder, files }) {
  const read = {};
  for (const name of files) {
    const response = await fetch(`/files/${folder}/${name}`);
    if (!response.ok) throw new Error(`${folder}/${name}: ${response.status}`);
    read[name] = new Uint8Array(await response.arrayBuffer());
  }
  return read;
}

const models = {}; // open, by backend

globalThis.test = {
  // open opens a model under the name of its backend, with modules, and says what it is.
  async open(backend, base, modules) {
    const before = performance.now();
    const model = await open(await read(base), { backend });
    const opened = performance.now();
    models[backend] = model;
    for (const module of modules) await model.addModule(module.name, await read(module));
    model.count = modules.length;
    const { device, reason, candidates, maps } = model;
    return { backend: model.backend, device, reason, candidates, maps, seconds: (opened - before) / 1000 };
  },

  score: (backend, ...args) => models[backend].score(...args),

  // generate adds what was heard of the tokens, by input.
  async generate(backend, inputs, weights, options) {
    const heard = inputs.map(() => ({ ids: [], text: "" }));
    const answers = await models[backend].generate(inputs, weights, (input, id, text) => {
      heard[input].ids.push(id);
      heard[input].text += text;
    }, options);
    return { answers, heard };
  },

  // rate returns how many weight vectors a second are scored, the best of some batches.
  async rate(backend, examples, weights) {
    let best = Infinity;
    for (let i = 0; i < 3; i++) {
      const before = performance.now();
      await models[backend].score(examples, weights);
      best = Math.min(best, performance.now() - before);
    }
    return 1000 * weights.length / best;
  },

  // mistakes returns what each wrong call is rejected with.
  async mistakes(backend, modules) {
    const model = models[backend];
    const nothing = new Array(model.count).fill(0);
    const example = { input: "cat", output: "cats" };
    const added = await read(modules[0]);
    const calls = {
      "no files": () => open(undefined, { backend }),
      "text as a file": () => open({ "config.json": "{}" }, { backend }),
      "empty folder": () => open({}, { backend }),
      "unknown backend": () => open({}, { backend: "cuda" }),
      "module twice": () => model.addModule(modules[0].name, added),
      "module without name": () => model.addModule("", added),
      "module without files": () => model.addModule("new", {}),
      "module cut short": () => model.addModule("new", {
        ...added, "adapter_model.safetensors": added["adapter_model.safetensors"].subarray(0, 1000),
      }),
      "pickled module": async () => model.addModule("new", await read(modules[1])),
      "no examples": () => model.score([], [nothing]),
      "examples of another form": () => model.score("cat", [nothing]),
      "weights not in a list": () => model.score([example], nothing),
      "too few weights": () => model.score([example], [[1]]),
      "weight that is no number": () => model.score([example], [nothing.with(0, NaN)]),
      "static merge": () => model.score([example], [nothing], { method: "ties" }),
      "temperature": () => model.generate(["cat"], nothing, undefined, { temperature: -1 }),
    };
    const rejected = {};
    for (const [name, call] of Object.entries(calls)) {
      try {
        await call();
        rejected[name] = null;
      } catch ({ name: kind, message, code, field }) {
        rejected[name] = { kind, message, code, field };
      }
    }
    return rejected;
  },

  // closing returns the code that what runs is rejected with when the model is closed, and the code of a call after that.
  async closing(backend, example) {
    const model = models[backend];
    const running = model.score([example], [new Array(model.count).fill(1)]).catch((e) => e.code);
    model.close();
    return [await running, await model.score([example], []).catch((e) => e.code)];
  },

  // dying returns what open is rejected with when the engine beside client ends.
  async dying(client) {
    const { open } = await import(client);
    return open({}).catch(({ message, code }) => ({ message, code }));
  },

  // run runs a compiled Go test and returns its output and exit code.
  async run(program, args) {
    const lines = [];
    const log = console.log;
    console.log = (line) => lines.push(line);
    try {
      const go = new Go();
      go.argv = [program, ...args];
      let code = -1;
      go.exit = (c) => { code = c; };
      const { instance } = await WebAssembly.instantiateStreaming(fetch(`/${program}`), go.importObject);
      await go.run(instance);
      return { code, output: lines.join("\n") };
    } finally {
      console.log = log;
    }
  },
};
