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
  const plain = title.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`) || "Result";
  // A text, not a document: the page's policy would hold for that, and the style inside would break it.
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${plain} – Medley</title>
<style>${sheets.replaceAll("</", "<\\/")}</style>
</head>
<body><main><h1>${plain}</h1>${copy.outerHTML}</main></body>
</html>
`;
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
