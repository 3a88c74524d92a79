// Where in the page one is: the address's path.
import { effect, signal } from "@preact/signals";

export const paths = ["/", "/modules", "/search", "/result", "/jobs", "/library", "/plugins"] as const;
export type Path = (typeof paths)[number];

const titles: Record<Path, string> = {
  "/": "Task", "/modules": "Modules", "/search": "Search", "/result": "Result", "/jobs": "Jobs", "/library": "Library", "/plugins": "Plugins",
};

const here = (): Path => paths.find((p) => p === location.pathname) ?? "/";

export const path = signal<Path>(here());

addEventListener("popstate", () => (path.value = here()));

effect(() => {
  document.title = `${titles[path.value]} – Medley`;
});

export function go(to: Path): void {
  if (to !== path.value) {
    history.pushState(null, "", to);
    path.value = to;
    scrollTo(0, 0);
    requestAnimationFrame(() => document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true })); // screen readers tell the new view
  }
}
