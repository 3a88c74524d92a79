// What a guest may import: the functions of WASI preview 1 that compilers for wasm32-wasip1 cannot do without, with nothing behind them.
// There are no files, no arguments and no environment, the clock stands still, and randomness comes from the seed of the search, as in
// package wasm/host.

const OK = 0, BADF = 8, INVAL = 28;

// clock is nanoseconds, the first moment of 2022: Go's runtime does not start with 0.
const clock = 1_640_995_200_000_000_000n;

const logBytes = 4096; // that are kept of the end of what a guest writes

export class Exit extends Error {}

// wasi returns the functions, by name. memory is called for the guest's memory, and seed is a BigInt; log.text is what the guest wrote.
export function wasi(memory, seed, log) {
  const view = () => new DataView(memory().buffer); // a new one each time: memory that grows leaves its views behind
  const nothing = () => OK;
  const noFile = () => BADF;
  const noStrings = (count, size) => {
    view().setUint32(count, 0, true);
    view().setUint32(size, 0, true);
    return OK;
  };
  let random = seed;
  return {
    args_get: nothing,
    args_sizes_get: noStrings,
    environ_get: nothing,
    environ_sizes_get: noStrings,
    sched_yield: nothing,
    fd_close: noFile,
    fd_fdstat_set_flags: noFile,
    fd_prestat_get: noFile,
    fd_prestat_dir_name: noFile,
    proc_exit(code) {
      throw new Exit(`ended itself with exit code ${code}`);
    },
    clock_time_get(id, precision, at) {
      view().setBigUint64(at, clock, true);
      return OK;
    },
    // SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    random_get(at, n) {
      const bytes = new Uint8Array(memory().buffer, at, n);
      const word = new DataView(new ArrayBuffer(8));
      const wrap = (v) => BigInt.asUintN(64, v);
      for (let i = 0; i < n; i++) {
        if (i % 8 === 0) {
          random = wrap(random + 0x9e3779b97f4a7c15n);
          let z = wrap((random ^ (random >> 30n)) * 0xbf58476d1ce4e5b9n);
          z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
          word.setBigUint64(0, z ^ (z >> 31n), true);
        }
        bytes[i] = word.getUint8(i % 8);
      }
      return OK;
    },
    // Completes every subscription at once: one to a clock with success, one to a file with an error.
    poll_oneoff(subscriptions, events, n, count) {
      if (n === 0) {
        return INVAL;
      }
      const v = view();
      const found = Array.from({ length: n }, (_, i) => [v.getBigUint64(subscriptions + 48 * i, true), v.getUint8(subscriptions + 48 * i + 8)]);
      found.forEach(([userData, type], i) => {
        const at = events + 32 * i;
        new Uint8Array(v.buffer, at, 32).fill(0);
        v.setBigUint64(at, userData, true);
        v.setUint16(at + 8, type === 0 ? OK : BADF, true);
        v.setUint8(at + 10, type);
      });
      v.setUint32(count, n, true);
      return OK;
    },
    fd_write(fd, vectors, n, written) {
      if (fd !== 1 && fd !== 2) {
        return BADF;
      }
      const v = view();
      let sum = 0;
      for (let i = 0; i < n; i++) {
        const at = v.getUint32(vectors + 8 * i, true), size = v.getUint32(vectors + 8 * i + 4, true);
        const tail = new Uint8Array(v.buffer, at, size).subarray(-logBytes);
        log.text = (log.text + new TextDecoder().decode(tail)).slice(-logBytes);
        sum += size;
      }
      v.setUint32(written, sum, true);
      return OK;
    },
    // The three standard files are character devices that can be written to.
    fd_fdstat_get(fd, at) {
      if (fd > 2) {
        return BADF;
      }
      new Uint8Array(memory().buffer, at, 24).fill(0);
      view().setUint8(at, 2);
      view().setUint8(at + 8, 1 << 6);
      return OK;
    },
  };
}
