// What a user takes along: the adapter, composed here by the Go engine, and the result as one page.
import { loadEngine } from "../compute/engine";
import type { Composed, Files } from "../compute/medley";
import { Fault } from "../domain";
import { compute } from "./compute";
import type { Run } from "./store";

/** adapterOf composes the run's weights into an adapter that PEFT loads. */
export async function adapterOf(run: Run, progress: (what: string, share: number) => void): Promise<Composed> {
  const { composed, method, base } = run.output ?? {};
  if (!composed || !base) {
    throw new Fault("invalid", "There is no composition yet.");
  }
  const { compose } = await loadEngine((loaded, total) => progress("Loading the engine, which writes the adapter", (0.5 * loaded) / total));
  const used = run.modules.flatMap((id, i) => (composed.weights[i] ? [{ id, weight: composed.weights[i] }] : []));
  const chosen = used.length > 0 ? used : [{ id: run.modules[0] ?? "", weight: 0 }]; // the base itself was best: an update of zero
  const doing = await compute(run.mode, run.base);
  const modules: { files: Files; weight: number }[] = [];
  for (const { id, weight } of chosen) {
    progress("Fetching the modules", 0.5 + (0.4 * modules.length) / chosen.length);
    modules.push({ files: await doing.files(id), weight });
  }
  progress("Composing the adapter", 0.95);
  return compose(modules, { method: method ?? "delta", base });
}

/** reportOf is the result as it is shown, as one page that needs nothing else: its style inside, no script. */
export async function reportOf(title: string): Promise<string> {
  const result = document.getElementById("result");
  if (!result) {
    throw new Fault("invalid", "The result is not shown.");
  }
  const copy = result.cloneNode(true) as HTMLElement;
  copy.querySelectorAll("button, .downloads, .segments").forEach((e) => e.remove());
  const sheets = [...document.styleSheets].flatMap((s) => [...s.cssRules].map((r) => r.cssText)).join("\n");
  const page = document.implementation.createHTMLDocument(`${title} – Medley`);
  page.documentElement.lang = "en";
  for (const [name, content] of [["viewport", "width=device-width, initial-scale=1"], ["color-scheme", "light dark"]] as const) {
    page.head.append(Object.assign(page.createElement("meta"), { name, content }));
  }
  page.head.append(Object.assign(page.createElement("meta"), { httpEquiv: "Content-Security-Policy", content: "default-src 'none'; style-src 'unsafe-inline'" }));
  const charset = page.createElement("meta");
  charset.setAttribute("charset", "utf-8");
  page.head.prepend(charset);
  page.head.append(Object.assign(page.createElement("style"), { textContent: sheets }));
  const main = page.createElement("main");
  main.append(Object.assign(page.createElement("h1"), { textContent: title || "Result" }), page.importNode(copy, true));
  page.body.append(main);
  return "<!doctype html>\n" + page.documentElement.outerHTML;
}

/** download hands a file to the browser. */
export function download(name: string, content: string | Uint8Array<ArrayBuffer> | Blob, type: string): void {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const a = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
