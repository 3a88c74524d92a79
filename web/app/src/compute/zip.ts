// Reads the archives that the server keeps: its own, whose files are stored or deflated and small in number.
import { Fault } from "../domain";

/** unzip returns the files of an archive by name (APPNOTE.TXT 4.3: end record, central directory, local headers). */
export async function unzip(data: Uint8Array<ArrayBuffer>): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const bad = () => new Fault("invalid", "The archive cannot be read.", "archive");
  try {
    let end = data.length - 22;
    while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) {
      end--;
    }
    if (end < 0) {
      throw bad();
    }
    const count = view.getUint16(end + 10, true);
    let at = view.getUint32(end + 16, true);
    const files: Record<string, Uint8Array<ArrayBuffer>> = {};
    for (let i = 0; i < count; i++) {
      const nameLength = view.getUint16(at + 28, true);
      const name = new TextDecoder().decode(data.subarray(at + 46, at + 46 + nameLength));
      files[name] = await entry(data, view, view.getUint32(at + 42, true), view.getUint16(at + 10, true), view.getUint32(at + 20, true));
      at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    }
    return files;
  } catch {
    throw bad();
  }
}

async function entry(data: Uint8Array<ArrayBuffer>, view: DataView, at: number, method: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const start = at + 30 + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
  if (start + size > data.length) {
    throw new RangeError("outside");
  }
  const packed = data.slice(start, start + size);
  if (method === 0) {
    return packed;
  }
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(inflated).arrayBuffer());
}
