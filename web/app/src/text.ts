/**
 * tidy takes out of a text of anyone what could reach beyond it: control characters become spaces, and those that turn the direction of
 * text are left out, for an isolate that a text opens and does not close ends the <bdi> around it in its place.
 */
export function tidy(text: string): string {
  return text.replace(/[\u202A-\u202E\u2066-\u2069]/g, "").replace(/[\p{Cc}\u2028\u2029]/gu, " ");
}
