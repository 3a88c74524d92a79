// Focus stays near when what has it goes away: keyboards and screen readers would start at the top again.

const focusable = "a[href], button, input, select, textarea, summary, [tabindex]";

interface Place {
  inside: HTMLElement;
  /** Among what can have focus inside. */
  index: number;
}

const within = (e: HTMLElement) => [...e.querySelectorAll<HTMLElement>(focusable)];

/** focusTitle moves focus to the view's title. */
export function focusTitle(): void {
  document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
}

/** keepFocus moves focus to the neighbour of an element that is gone: the same place of the row after it, or of the one before. */
export function keepFocus(root: HTMLElement): void {
  let last: { element: HTMLElement; view: string; places: Place[] } | undefined;
  addEventListener("focusin", ({ target }) => {
    if (target instanceof HTMLElement) {
      const places: Place[] = [];
      for (let e = target.parentElement; e && e !== root && e.localName !== "main"; e = e.parentElement) {
        places.push({ inside: e, index: within(e).indexOf(target) });
      }
      last = { element: target, view: location.pathname, places };
    }
  });
  const moved = new MutationObserver(() => {
    if (!last || last.element.isConnected || document.activeElement !== document.body) {
      return;
    }
    const { view, places } = last;
    last = undefined;
    if (view !== location.pathname) {
      return; // another view came, whose title gets it
    }
    for (const { inside, index } of places) {
      const near = inside.isConnected ? within(inside) : [];
      if (near.length > 0) {
        near[Math.min(index, near.length - 1)]?.focus();
        return;
      }
    }
    focusTitle();
  });
  moved.observe(root, { childList: true, subtree: true });
}
