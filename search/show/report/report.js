"use strict";
(function () {
  const text = (id) => document.getElementById(id).textContent;
  const templates = JSON.parse(text("templates"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const config = { responsive: true, displaylogo: false, displayModeBar: false, showTips: false };

  function draw(div, paper) {
    const ground = dark.matches && !paper ? "dark" : "light";
    let json = text("spec-" + div.dataset.figure);
    if (ground === "dark") {
      for (const [light, instead] of Object.entries(templates.on_dark)) json = json.replaceAll(light, instead);
    }
    const spec = JSON.parse(json);
    const layout = spec.layout;
    layout.template = templates[ground];
    if (paper) layout.width = 660;
    if (narrow.matches || paper) {
      layout.font = Object.assign({ size: 11 }, layout.font);
      layout.margin = Object.assign({ l: 42, r: 8, t: 16, b: 40 }, layout.margin);
    }
    const own = (layout.meta || {}).narrow;
    if (narrow.matches && own) {
      for (const [path, value] of Object.entries(own)) set(layout, path.split("."), value);
    }
    div.style.height = layout.height + "px";
    return Plotly.react(div, spec.data, layout, config);
  }

  function set(part, path, value) {
    const last = path.pop();
    for (const key of path) part = part[key] = part[key] || {};
    part[last] = value;
  }

  function drawAll(paper) {
    document.querySelectorAll("[data-figure]").forEach((div) => draw(div, paper));
  }

  drawAll(false);
  dark.addEventListener("change", () => drawAll(false));
  narrow.addEventListener("change", () => drawAll(false));
  addEventListener("beforeprint", () => drawAll(true));
  addEventListener("afterprint", () => drawAll(false));
})();
