// Links that restore everything but secrets.
import { defaultSettings, faultOf } from "../domain";
import { findPlugin, missingPlugin } from "./plugin";
import { link, rested, unlink, type Shared } from "./persist";
import { notify, store, type Run } from "./store";

const mark = "#shared=";

/** share copies a link that restores the work, with a run. */
export async function share(run: Run | undefined): Promise<string> {
  const mode = run?.mode ?? store.mode.value;
  const shared: Shared = {
    mode, base: run?.base || store.base.value, task: run?.task ?? store.task.value, chosen: run?.modules ?? store.chosen.value[mode],
    weights: store.weights.value, prompt: store.prompt.value, settings: run?.settings ?? store.settings.value, run: run ?? null,
  };
  const address = `${location.origin}/result${mark}${await link(shared)}`;
  try {
    await navigator.clipboard.writeText(address);
    notify("good", "The link is on your clipboard. It holds the task, the modules' names, the weights and the run; no token.");
  } catch {
    notify("info", "The browser does not let the page use the clipboard: copy the link below.");
  }
  return address;
}

/** openShared takes over what the address holds. */
export async function openShared(): Promise<void> {
  if (!location.hash.startsWith(mark)) {
    return;
  }
  const fragment = location.hash.slice(mark.length);
  history.replaceState(null, "", location.pathname);
  try {
    const s = await unlink(fragment);
    store.mode.value = s.mode;
    store.base.value = s.base;
    store.task.value = s.task;
    store.chosen.value = { ...store.chosen.value, [s.mode]: s.chosen };
    store.weights.value = s.weights;
    store.prompt.value = s.prompt;
    store.settings.value = { ...defaultSettings, ...s.settings };
    await findPlugin();
    if (s.run) {
      const run = rested(s.run);
      store.runs.value = [...store.runs.value.filter((r) => r.id !== run.id), run];
      store.compared.value = [...store.compared.value.filter((id) => id !== run.id), run.id];
      store.shown.value = run.id;
    }
    notify("good", "This is what the link holds. Nothing of it is sent anywhere until you start something.");
    if (missingPlugin.value) {
      notify("info", "It was made with a plugin that this browser does not have. The result is here; to search on, drop the plugin's file in the search.");
    }
    if (s.mode === "server" && !store.session.value) {
      notify("info", "It was made with a server's modules: sign in to go on with them.");
    }
  } catch (e) {
    notify("bad", `The link cannot be read: ${faultOf(e).message}`);
  }
}
