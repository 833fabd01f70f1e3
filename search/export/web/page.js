"use strict";
// The page: hands what is asked to the worker, and shows what it writes.
(function () {
  const by = (id) => document.getElementById(id);
  const form = by("form");
  const button = by("go");
  const status = by("status");
  const problem = by("problem");
  let worker;
  let writing = false;
  let latest = "";

  if (location.protocol === "file:") {
    fail(by("served").textContent.trim());
    return;
  }
  for (const slider of form.querySelectorAll("input[type=range]")) {
    const show = () => (by(slider.id + "-value").textContent = Number(slider.value).toFixed(2));
    slider.addEventListener("input", show);
    show();
  }
  status.textContent = "Loading the model …";
  worker = new Worker("worker.js", { type: "module" });
  worker.onerror = () => fail("The model's program can't be started: load this page again, in a browser of today.");
  worker.onmessage = ({ data }) => shows[data.type](data);
  worker.postMessage({ type: "load" });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (writing) worker.postMessage({ type: "stop" });
    else if (!button.disabled) begin();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !writing) form.requestSubmit();
    if (event.key === "Escape" && writing) worker.postMessage({ type: "stop" });
  });

  function begin() {
    const prompt = by("prompt").value;
    by("given").textContent = prompt;
    latest = "";
    by("written").textContent = by("speed").textContent = by("note").textContent = "";
    by("result").hidden = false;
    status.textContent = "Writing …";
    problem.textContent = "";
    set(true);
    worker.postMessage({
      type: "write",
      prompt,
      temperature: Number(by("temperature").value),
      topP: Number(by("top-p").value),
      maxTokens: Number(by("tokens").value),
    });
  }

  const shows = {
    loading({ done, total }) {
      const bar = by("progress");
      bar.hidden = false;
      bar.value = done / total;
      by("loaded").textContent = `${megabytes(done)} of ${megabytes(total)} MB`;
    },
    ready() {
      by("progress").hidden = true;
      by("loaded").textContent = "";
      button.disabled = false;
      status.textContent = "Ready.";
    },
    reading({ done, total }) {
      by("speed").textContent = `reading the prompt: ${done} of ${total} tokens`;
    },
    text({ text, count, seconds, firstAfter }) {
      latest = text;
      by("written").textContent = text.replace(/\uFFFD+$/, ""); // a character that isn't whole yet
      by("speed").textContent = speed(count, seconds, firstAfter);
    },
    end({ reason, ids, read, all }) {
      set(false);
      by("written").textContent = latest;
      const context = Number(form.dataset.context);
      const notes = [];
      if (read < all) {
        notes.push(`The prompt has ${all} tokens, and the model looks back on ${context}: it has read the last ${read}.`);
      }
      if (reason === "context") notes.push(`It stopped at token ${context}, as far as it looks back.`);
      by("note").textContent = notes.join(" ");
      const ends = { ended: "The model ended its text", stopped: "Stopped", length: "Written", context: "Written" };
      status.textContent = `${ends[reason]}: ${ids.length} ${ids.length === 1 ? "token" : "tokens"}.`;
    },
    failed({ message }) {
      fail(message);
    },
  };

  function set(now) {
    writing = now;
    button.textContent = now ? "Stop" : "Write";
    button.classList.toggle("stop", now);
  }

  function speed(count, seconds, firstAfter) {
    const first = `first token after ${firstAfter.toFixed(2)} s`;
    return count > 1 ? `${((count - 1) / seconds).toFixed(1)} tokens/s, ${first}` : first;
  }

  function megabytes(bytes) {
    return (bytes / 1e6).toFixed(1);
  }

  function fail(message) {
    if (worker) worker.terminate();
    set(false);
    button.disabled = true;
    by("progress").hidden = true;
    by("loaded").textContent = status.textContent = "";
    problem.textContent = message;
  }
})();
