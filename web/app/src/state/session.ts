// Signing in with a token, and what depends on it: the server's lists.
import { effect } from "@preact/signals";
import { Client, type Schemas } from "../api/client";
import { faultOf, type ModuleInfo } from "../domain";
import { notify, store } from "./store";

export const client = new Client({
  token: () => store.session.peek()?.token,
  refused: (token) => {
    if (store.session.peek()?.token === token) {
      store.expired.value = true;
    }
  },
});

/** signIn takes a token, or an API key, which it exchanges for one. It throws why neither will do. */
export async function signIn(pasted: string): Promise<void> {
  let token = pasted.trim().replace(/^Bearer\s+/i, "");
  if (token.startsWith("mdl_")) {
    token = (await client.json<Schemas["Token"]>("/v1/tokens/exchange", { method: "POST", json: { key: token } })).token;
  }
  const trial = new Client({ token: () => token, refused: () => undefined });
  const bases = await trial.all<Schemas["Base"]>("/v1/bases");
  const claims = claimsOf(token);
  store.session.value = { token, expires: 1000 * (claims.exp ?? 0), scopes: (claims.scope ?? "").split(" ").filter(Boolean) };
  store.expired.value = false;
  store.signingIn.value = false;
  setBases(bases);
  store.mode.value = "server";
}

const warnBefore = 5 * 60_000; // milliseconds

/** watchExpiry tells of the token's end before it comes, and when it has come. */
export function watchExpiry(): void {
  effect(() => {
    const { token, expires = 0 } = store.session.value ?? {};
    if (!token || expires === 0) {
      return;
    }
    const left = expires - Date.now();
    const at = (time: number, act: () => void) => (time > 0 && time < 2 ** 31 ? [setTimeout(act, time)] : []);
    const timers = [
      ...at(left - warnBefore, () => notify("info", "Your token expires in five minutes. You can sign in again at any time; nothing is lost.")),
      ...at(left, () => (store.expired.value = true)),
    ];
    if (left <= 0) {
      store.expired.value = true;
    }
    return () => timers.forEach(clearTimeout);
  });
}

export function signOut(): void {
  store.session.value = null;
  store.expired.value = false;
  store.mode.value = "local";
  store.modules.value = { ...store.modules.value, server: [] };
}

/** claimsOf reads what a JSON Web Token says of itself; it is for showing only. */
function claimsOf(token: string): { exp?: number; scope?: string } {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(part)) as { exp?: unknown; scope?: unknown };
    return {
      ...(typeof claims.exp === "number" ? { exp: claims.exp } : {}),
      ...(typeof claims.scope === "string" ? { scope: claims.scope } : {}),
    };
  } catch {
    return {};
  }
}

function setBases(bases: Schemas["Base"][]): void {
  store.bases.value = bases.map((b) => b.name);
  if (!store.bases.value.includes(store.base.value)) {
    store.base.value = store.bases.value[0] ?? "";
  }
}

async function loadBases(): Promise<void> {
  setBases(await client.all<Schemas["Base"]>("/v1/bases"));
}

let listing = 0;

/** loadModules reads the server's list; of several calls the last one counts. */
export async function loadModules(q = ""): Promise<void> {
  const mine = ++listing;
  store.modulesState.value = { loading: true, problem: "" };
  try {
    if (store.bases.value.length === 0) {
      await loadBases();
    }
    const items = await client.all<Schemas["Module"]>("/v1/modules", { q });
    if (mine === listing) {
      const before = q === "" ? [] : store.modules.value.server.filter((m) => store.chosen.value.server.includes(m.id) && !items.some((i) => i.id === m.id));
      store.modules.value = { ...store.modules.value, server: [...items.map(moduleOf), ...before] };
      store.modulesState.value = { loading: false, problem: "" };
    }
  } catch (e) {
    if (mine === listing) {
      store.modulesState.value = { loading: false, problem: faultOf(e).message };
    }
  }
}

function moduleOf(m: Schemas["Module"]): ModuleInfo {
  const { id, name, task, author, licence, base, rank, size, mine, created } = m;
  return { id, name, task, author, licence, base, rank, size, mine, created };
}

/** remove deletes a resource of one's own and says so. */
export async function remove(path: string, name: string): Promise<boolean> {
  try {
    await client.json(path, { method: "DELETE" });
    notify("good", `${name} is deleted.`);
    return true;
  } catch (e) {
    notify("bad", `${name} was not deleted: ${faultOf(e).message}`);
    return false;
  }
}
