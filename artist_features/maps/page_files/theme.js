"use strict";
// Light or dark: as the system has it, until the button is pressed.
const theme = (() => {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  const name = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  function tell() {
    byId("theme").setAttribute("aria-pressed", String(name() === "dark"));
    for (const listener of listeners) listener();
  }
  function toggle() {
    root.dataset.theme = name() === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not kept, then */ }
    tell();
  }
  try {
    const kept = localStorage.getItem("theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* storage is switched off */ }
  system.addEventListener("change", tell);
  byId("theme").addEventListener("click", toggle);
  tell();
  // the value of a colour of the style sheet
  const probe = document.body.appendChild(make("span", "unseen"));
  probe.setAttribute("aria-hidden", "true");
  const color = (variable) => {
    probe.style.color = `var(${variable})`;
    return getComputedStyle(probe).color;
  };
  return { name, color, onChange: (listener) => listeners.push(listener) };
})();
