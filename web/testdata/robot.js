// What the tests do in the page, as a user would: find things by what they are called, click, type, wait. The tests put it there with the
// browser's own protocol, because the page's policy lets no script in.
globalThis.robot = (() => {
  const seen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
  const called = (e) => (e.getAttribute("aria-label") ?? e.textContent).replace(/\s+/g, " ").trim();
  const things = (selector) => [...document.querySelectorAll(selector)].filter((e) => seen(e) && !e.closest("[inert]"));

  // until polls what a function returns until it is true.
  async function until(what, test, time = 60_000) {
    for (const end = Date.now() + time; Date.now() < end; await new Promise((r) => setTimeout(r, 40))) {
      const value = await test();
      if (value) return value;
    }
    throw new Error(`waited in vain for ${what}; the page says: ${document.body.innerText.slice(0, 1500)}`);
  }

  const named = (selector, name) => things(selector).find((e) => called(e) === name) ?? things(selector).find((e) => called(e).startsWith(name));
  const enabled = (selector, name) => until(`${name} (${selector})`, () => {
    const e = named(selector, name);
    return e && !e.disabled && !e.getAttribute("aria-disabled") && e;
  });
  const field = (label) => until(`the field ${label}`, () => {
    const direct = things("input, select, textarea").find((e) => e.getAttribute("aria-label") === label);
    const around = things("label").find((l) => (l.querySelector(".field-label")?.textContent ?? l.textContent).trim().startsWith(label));
    return direct ?? around?.querySelector("input, select, textarea");
  });

  function set(e, value) {
    const prototype = Object.getPrototypeOf(e);
    Object.getOwnPropertyDescriptor(prototype, "value").set.call(e, String(value));
    e.dispatchEvent(new Event("input", { bubbles: true }));
    e.dispatchEvent(new Event("change", { bubbles: true }));
  }

  return {
    until,
    click: async (name) => void (await enabled("button, a, summary", name)).click(),
    choose: async (name) => void (await until(`the choice ${name}`, () => named("label:has(input)", name))).querySelector("input").click(),
    fill: async (label, value) => set(await field(label), value),
    value: async (label) => (await field(label)).value,
    see: (text, time) => until(`“${text}”`, () => document.body.innerText.includes(text), time),
    gone: (text, time) => until(`no “${text}”`, () => !document.body.innerText.includes(text), time),
    text: (selector) => document.querySelector(selector)?.innerText ?? "",
    go: async (path) => {
      document.querySelector(`a[href="${path}"]`).click();
      await until(path, () => location.pathname === path);
    },

    // focus tells what has focus, and what is wrong with how one sees that.
    focus: () => {
      const e = document.activeElement;
      if (!e || e === document.body) return { name: "", wrong: "nothing has it" };
      const name = (e.getAttribute("aria-label") ?? e.closest("label")?.textContent ?? e.textContent).replace(/\s+/g, " ").trim();
      const outlined = (x) => x && getComputedStyle(x).outlineStyle !== "none" && parseFloat(getComputedStyle(x).outlineWidth) >= 2;
      const area = e.closest("label.drop, .segments label") ?? e;
      const { left, top, width, height } = area.getBoundingClientRect();
      const at = document.elementFromPoint(left + width / 2, top + height / 2);
      const wrong = !outlined(e) && !outlined(e.nextElementSibling) && !outlined(area) ? "it has no outline"
        : !at ? `it is outside the window, ${top} from above`
        : !area.contains(at) && !at.contains(area) ? `it is behind ${at.className || at.localName}` : "";
      return { name, wrong };
    },
    focused: (name) => until(`focus on ${name}`, () => robot.focus().name.startsWith(name) && document.activeElement !== document.body, 20_000).catch((e) => {
      throw new Error(`focus is on “${robot.focus().name}”: ${e.message}`);
    }),

    // drop gives a file to the file input whose area is called so.
    drop: async (label, name, base64, type = "") => {
      const area = await until(`the area ${label}`, () => named("label.drop", label));
      const files = new DataTransfer();
      files.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
      const input = area.querySelector("input");
      input.files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    },

    // axe returns what axe-core finds wrong, by some rules or by all.
    axe: async (rules) => {
      const { violations } = await axe.run(document, { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) });
      return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary}`));
    },
    wide: () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
})();
