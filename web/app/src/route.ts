// Where in the page one is: the address's path.
import { effect, signal } from "@preact/signals";
import { focusTitle } from "./ui/focus";

export const paths = ["/", "/modules", "/search", "/result", "/jobs", "/library", "/plugins"] as const;
export type Path = (typeof paths)[number];

const titles: Record<Path, string> = {
  "/": "Task", "/modules": "Modules", "/search": "Search", "/result": "Result", "/jobs": "Jobs", "/library": "Library", "/plugins": "Plugins",
};

const here = (): Path => paths.find((p) => p === location.pathname) ?? "/";

export const path = signal<Path>(here());

addEventListener("popstate", () => {
  path.value = here();
  told();
});

effect(() => {
  document.title = `${titles[path.value]} – Medley`;
});

export function go(to: Path): void {
  if (to !== path.value) {
    history.pushState(null, "", to);
    path.value = to;
    scrollTo(0, 0);
    told();
  }
}

/** told lets screen readers tell the new view, once it is there. */
function told(): void {
  requestAnimationFrame(focusTitle);
}
