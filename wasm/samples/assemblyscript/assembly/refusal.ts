// The results that refuse a call, and why the last one did.

export const BAD_ARGUMENT: i32 = -1;
export const UNSUPPORTED: i32 = -2;
export const BAD_STATE: i32 = -3;

class Refusal {
  code: i32 = 0;
  text: ArrayBuffer = new ArrayBuffer(0); // UTF-8
}

export const refusal = new Refusal();

/** Notes why and returns the code. */
export function refuse(code: i32, why: string): i32 {
  refusal.code = code;
  refusal.text = String.UTF8.encode(why);
  return code;
}
