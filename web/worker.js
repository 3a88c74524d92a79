// The worker that runs the engine. It expects beside it page.wasm (cmd/page built for GOOS=js GOARCH=wasm) and wasm_exec.js, which
// comes with the Go that built it ($(go env GOROOT)/lib/wasm). medley.js is the other side.
//
// A worker has one model. A request is {id, call, args}: open first, then the model's functions, or compose. The answer is {id, result} or
// {id, error: {message, code, field}}; before it there may be {id, token: [input, id, text]}. {ended: true} says that the engine is gone and
// nothing more is answered.
import "./wasm_exec.js";

let model;

const started = (async () => {
  const go = new Go();
  const response = fetch(new URL("page.wasm", import.meta.url));
  const { instance } = await WebAssembly.instantiateStreaming(response, go.importObject);
  go.run(instance).finally(() => postMessage({ ended: true })); // runs until medley is there, and then for ever unless it fails
})();

self.onmessage = async ({ data: { id, call, args } }) => {
  try {
    postMessage({ id, result: await answer(id, call, args) });
  } catch (e) {
    postMessage({ id, error: { message: e.message, code: e.code ?? "internal", field: e.field ?? "" } });
  }
};

async function answer(id, call, args) {
  if (call === "open") {
    await started;
    model = await medley.open(...args);
    return Object.fromEntries(Object.entries(model).filter(([, value]) => typeof value !== "function")); // what can be sent
  }
  if (call === "compose") {
    await started;
    return medley.compose(...args);
  }
  if (call === "generate") {
    args.splice(2, 0, (...token) => postMessage({ id, token }));
  }
  return model[call](...args);
}
