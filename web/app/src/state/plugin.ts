// The plugin that is searched with: dropped, found again in this browser, or missing.
import { computed } from "@preact/signals";
import { Fault, type PluginName, type Settings } from "../domain";
import { inspect, shorten, type Plugin } from "../search/optimizer";
import { dropPlugin, keepPlugin, keptPlugin, keptPlugins } from "./persist";
import { store } from "./store";

const nameOf = ({ file, name, version, sha256 }: PluginName): PluginName => ({ file, name, version, sha256 });

/** missingPlugin is what the settings ask for and is not at hand. */
export const missingPlugin = computed(() => {
  const { optimizer, plugin } = store.settings.value;
  return optimizer === "plugin" && plugin && store.plugin.value?.sha256 !== plugin.sha256 ? plugin : null;
});

const take = (plugin: Plugin) => {
  store.plugin.value = plugin;
  store.settings.value = { ...store.settings.value, optimizer: "plugin", plugin: nameOf(plugin) };
};

const list = async () => (store.keptPlugins.value = await keptPlugins());

/** takePlugin tries a dropped file and searches with it from now on. It throws what is wrong with the file. */
export async function takePlugin(file: File): Promise<void> {
  const plugin = await inspect(file);
  await keepPlugin(plugin);
  take(plugin);
  await list();
}

/** choosePlugin takes one that is kept; false if it is gone. */
export async function choosePlugin(sha256: string): Promise<boolean> {
  const plugin = await keptPlugin(sha256);
  plugin && take(plugin);
  await list();
  return plugin !== undefined;
}

/** forgetPlugin deletes it from this browser. */
export async function forgetPlugin(sha256: string): Promise<void> {
  await dropPlugin(sha256);
  if (store.plugin.value?.sha256 === sha256) {
    store.plugin.value = null;
  }
  const s = store.settings.value;
  if (s.plugin?.sha256 === sha256) {
    store.settings.value = { ...s, optimizer: s.optimizer === "plugin" ? "auto" : s.optimizer, plugin: null };
  }
  await list();
}

/** findPlugin brings back the plugin that the settings name, if this browser has it. */
export async function findPlugin(): Promise<void> {
  const { plugin } = store.settings.value;
  if (plugin && store.plugin.value?.sha256 !== plugin.sha256) {
    store.plugin.value = (await keptPlugin(plugin.sha256)) ?? null;
  }
  await list();
}

/** pluginOf is the plugin that settings name, undefined if they name none. It throws which one is missing. */
export async function pluginOf({ optimizer, plugin }: Settings): Promise<Plugin | undefined> {
  if (optimizer !== "plugin" || !plugin) {
    return undefined;
  }
  const here = store.plugin.peek();
  const found = here?.sha256 === plugin.sha256 ? here : await keptPlugin(plugin.sha256);
  if (!found) {
    throw new Fault("not_found", `The plugin “${shorten(plugin.name)}” is not in this browser: drop its file, “${shorten(plugin.file)}” with the SHA-256 ${plugin.sha256.slice(0, 12)}…, and go on`, "optimizer");
  }
  return found;
}
