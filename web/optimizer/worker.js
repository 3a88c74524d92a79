// The worker that runs one Optimizer for remote.js. A request is {id, call, args}: ready, which does nothing, and open first, then the
// optimizer's methods. The answer is {id, result} or {id, error: {code, message}}.
import { Optimizer } from "./optimizer.js";

let optimizer;

self.onmessage = async ({ data: { id, call, args } }) => {
  try {
    let result;
    if (call === "ready") {
      result = true;
    } else if (call === "open") {
      optimizer = await Optimizer.open(...args);
      result = optimizer.info();
    } else {
      result = optimizer[call](...args);
    }
    postMessage({ id, result });
  } catch (e) {
    postMessage({ id, error: { code: e.code ?? "internal", message: e.message } });
  }
};
