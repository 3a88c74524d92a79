// The parts that load on demand, and how far they are.
import { Fault } from "./domain";

interface Part {
  at: string;
  /** Bytes by file. */
  files: Record<string, number>;
}

declare const __PARTS__: { engine: Part; zoo: Part; guest: Part };

export const parts = __PARTS__;

export type Progress = (loaded: number, total: number) => void;

/** load fetches files of a part, a few at once, and tells how far it is in bytes. */
export async function load(part: Part, names: string[], progress: Progress): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const total = names.reduce((sum, name) => sum + (part.files[name] ?? 0), 0);
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  let loaded = 0;
  const queue = [...names];
  const work = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      files.set(name, await read(part.at + name, (bytes) => progress((loaded += bytes), total)));
    }
  };
  await Promise.all(Array.from({ length: 6 }, work));
  return files;
}

/** read fetches a file and tells of its bytes as they come. */
export async function read(address: string, heard: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(address);
  } catch {
    throw new Fault("offline", "The server cannot be reached.");
  }
  if (!response.ok || !response.body) {
    throw new Fault("not_found", `A part of the page is missing on the server (status ${response.status}); it may have been updated: reload the page.`);
  }
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for await (const chunk of response.body as ReadableStream<Uint8Array<ArrayBuffer>>) {
    chunks.push(chunk);
    heard(chunk.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
