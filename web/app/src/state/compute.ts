// Which Compute works for a mode: the engine of this page is started when it is first needed.
import type { Compute } from "../compute/compute";
import { LocalCompute } from "../compute/local";
import { ServerCompute } from "../compute/server";
import { Fault, faultOf } from "../domain";
import { client } from "./session";
import { store, type Mode } from "./store";

let local: Promise<LocalCompute> | undefined;

/** engine is the engine of this page. backend "auto" tests what there is and takes the fastest. */
export function engine(backend = "auto"): Promise<LocalCompute> {
  local ??= (async () => {
    store.engine.value = { state: "loading", what: "Loading the engine", share: 0 };
    const started = await LocalCompute.start(backend, (what, share) => {
      store.engine.value = { state: "loading", what, share };
    });
    store.engine.value = { state: "ready", info: started.info };
    return started;
  })().catch((e: unknown) => {
    local = undefined;
    store.engine.value = { state: "failed", message: faultOf(e).message };
    throw e;
  });
  return local;
}

/** restart takes another backend. */
export async function restart(backend: string): Promise<void> {
  const before = local;
  local = undefined;
  (await before?.catch(() => undefined))?.close();
  await engine(backend);
}

export async function compute(mode: Mode, base = store.base.peek()): Promise<Compute> {
  if (mode === "local") {
    return engine();
  }
  if (!store.session.peek()) {
    throw new Fault("unauthenticated", "Sign in to use the server.");
  }
  if (base === "") {
    throw new Fault("not_found", "The server has no base model.");
  }
  return new ServerCompute(client, base);
}
