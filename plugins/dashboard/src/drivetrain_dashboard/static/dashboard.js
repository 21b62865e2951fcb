// The one script of the dashboard. Every page works without it; it adds three things:
// the theme is remembered, tables can be selected as a whole, and pages follow what happens.
"use strict";

(() => {
  const THEME = "drivetrain-theme";
  const root = document.documentElement;

  // This runs before the page is drawn, so that a remembered theme does not flash.
  try {
    const stored = localStorage.getItem(THEME);
    if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  } catch { /* storage is switched off: the theme follows the system */ }

  document.addEventListener("DOMContentLoaded", () => {
    followTheme();
    followSelection(document);
    followEvents();
  });

  function followTheme() {
    const chosen = document.getElementById(`theme-${root.dataset.theme || "auto"}`);
    if (chosen) chosen.checked = true;
    for (const choice of document.querySelectorAll("input[name=theme]")) {
      choice.addEventListener("change", () => {
        root.dataset.theme = choice.value;
        try { localStorage.setItem(THEME, choice.value); } catch { /* it holds for this page only */ }
      });
    }
  }

  // All that match, or some: one excludes the other. A box in the head of a table selects its rows. Buttons say how many rows are selected.
  function followSelection(within) {
    for (const all of within.querySelectorAll("input[data-select-all]")) {
      all.hidden = false;
      const boxes = () => [...all.closest("table").querySelectorAll("tbody input[type=checkbox]")];
      const show = () => {
        const number = boxes().filter((box) => box.checked).length;
        all.checked = number > 0 && number === boxes().length;
        all.indeterminate = number > 0 && number < boxes().length;
        if (number > 0 && all.form && all.form.elements.matching) all.form.elements.matching.checked = false;
        const count = all.form && all.form.querySelector("[data-selected-count]");
        if (count) count.textContent = `${number} selected`;
      };
      const matching = all.form && all.form.elements.matching;
      all.addEventListener("change", () => {
        for (const box of boxes()) box.checked = all.checked;
        show();
      });
      if (matching) {
        matching.addEventListener("change", () => {
          if (!matching.checked) return;
          for (const box of boxes()) box.checked = false;
          show();
        });
      }
      all.closest("table").addEventListener("change", show);
      show();
    }
  }

  // The server sends an event when the page has changed. The part of it that changes is then fetched and replaced.
  function followEvents() {
    const control = document.getElementById("live");
    if (!control || !window.fetch) return;
    const button = control.querySelector("button");
    const status = control.querySelector("[data-live-status]");
    const pollSeconds = Number(control.dataset.pollSeconds) || 5;
    let paused = new URL(location.href).searchParams.get("live") === "off";
    let source = null;
    let timer = 0;
    let refreshing = false;

    const say = (text) => { if (status.textContent !== text) status.textContent = text; };
    const stop = () => {
      if (source) source.close();
      source = null;
      clearInterval(timer);
      timer = 0;
    };
    const poll = () => {
      say(`every ${pollSeconds} s`);
      if (!timer) timer = setInterval(refresh, pollSeconds * 1000);
    };
    const start = () => {
      stop();
      button.textContent = paused ? "Resume" : "Pause";
      button.setAttribute("aria-label", paused ? "Resume live updates" : "Pause live updates");
      if (paused) return say("paused");
      if (document.hidden) return;
      if (!control.dataset.events || !window.EventSource) return poll();
      source = new EventSource(control.dataset.events);
      source.addEventListener("version", (event) => {
        clearInterval(timer);
        timer = 0;
        const { version } = JSON.parse(event.data);
        if (version === control.dataset.version) return say("live");
        control.dataset.version = version;
        refresh();
      });
      source.addEventListener("problem", (event) => say(JSON.parse(event.data).text));
      source.addEventListener("error", poll);
    };

    async function refresh() {
      if (refreshing || paused || document.hidden) return;
      refreshing = true;
      try {
        const address = new URL(location.href);
        address.searchParams.delete("live");
        address.searchParams.set("fragment", "1");
        const answer = await fetch(address, { redirect: "error" });
        if (!answer.ok) throw new Error(String(answer.status));
        const replaced = replaceLivePart(await answer.text());
        if (!replaced) say("waits while you type");
        else if (source && source.readyState === EventSource.OPEN) say("live");
      } catch {
        say("cannot reach the dashboard; trying again");
      } finally {
        refreshing = false;
      }
    }

    button.addEventListener("click", () => {
      paused = !paused;
      const address = new URL(location.href);
      if (paused) address.searchParams.set("live", "off");
      else address.searchParams.delete("live");
      history.replaceState(null, "", address);
      start();
      refresh();
    });
    document.addEventListener("visibilitychange", () => { start(); refresh(); });
    window.addEventListener("pagehide", stop);
    control.hidden = false;
    start();
  }

  // The content is HTML of our own server, which has escaped every value. Scripts in it would not run.
  // It is not replaced while a person fills in a field.
  function replaceLivePart(content) {
    const part = document.getElementById("live-part");
    const fields = [...part.querySelectorAll("input:not([type=checkbox], [type=hidden]), textarea")];
    if (fields.some((one) => one.value !== one.defaultValue || one === document.activeElement)) return false;
    const before = remembered(part);
    part.innerHTML = content;
    restore(part, before);
    followSelection(part);
    return true;
  }

  // What a person has done to a part: what is open, selected, focused and scrolled to.
  function remembered(part) {
    const active = part.contains(document.activeElement) ? document.activeElement : null;
    return {
      open: [...part.querySelectorAll("details[id]")].map((one) => [one.id, one.open]),
      checked: [...part.querySelectorAll("input[type=checkbox]:checked")].map((one) => one.value),
      focus: active && { tag: active.tagName, html: active.outerHTML, index: alike(part, active.tagName).indexOf(active) },
      scrolled: [...part.querySelectorAll("[id]")].filter((one) => one.scrollLeft || one.scrollTop)
        .map((one) => [one.id, one.scrollLeft, one.scrollTop]),
    };
  }

  function restore(part, before) {
    const byId = (id) => part.querySelector(`#${CSS.escape(id)}`);
    for (const [id, open] of before.open) if (byId(id)) byId(id).open = open;
    for (const box of part.querySelectorAll("input[type=checkbox]")) {
      if (before.checked.includes(box.value)) box.checked = true;
    }
    for (const [id, x, y] of before.scrolled) if (byId(id)) byId(id).scrollTo(x, y);
    if (!before.focus) return;
    const { tag, html, index } = before.focus;
    const candidates = alike(part, tag);
    const focused = candidates.find((one) => one.outerHTML === html) || candidates[index];
    if (focused) focused.focus({ preventScroll: true });
  }

  function alike(part, tag) {
    return [...part.querySelectorAll(tag)];
  }
})();
