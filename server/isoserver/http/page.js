"use strict";

// Sends what the forms say, to the server that the page is from and to no other. The key
// is in its input alone: it goes when the page goes.

const SHOWN_MAX = 200_000; // characters of an answer; more makes the page slow
const FIELDS = { id: "execution_id", key: "heap", task_id: "taskId" }; // where answers name it otherwise
const byId = (id) => document.getElementById(id);

function requestOf(form) {
  const { method, path } = form.dataset;
  const inputs = [...form.querySelectorAll("[data-in]")];
  const valued = inputs.filter((input) => input.value !== "");
  let place = path;
  for (const input of valued.filter((one) => one.dataset.in === "path"))
    place = place.replace(`{${input.name}}`, encodeURIComponent(input.value));
  const query = new URLSearchParams(
    valued.filter((one) => one.dataset.in === "query").map((one) => [one.name, one.value]),
  );
  const headers = {};
  const body = form.elements.body?.value || undefined;
  if (body !== undefined)
    headers["Content-Type"] = form.elements.type?.value ?? "application/json";
  if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
  if (byId("workspace").value) headers["X-Workspace-Id"] = byId("workspace").value;
  const search = query.size ? `?${query}` : "";
  // Relative, so that it works behind a proxy that puts the server under a path.
  const url = new URL(`.${place}${search}`, location.href.replace(/\/docs\b.*$/, "/"));
  return { method, url, headers, body };
}

const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

function asCurl({ method, url, headers, body }) {
  const shown = { ...headers };
  const parts = [`curl -s${method === "GET" ? "" : ` -X ${method}`} ${quote(url.href)}`];
  if (shown.Authorization) {
    parts.push('-H "Authorization: Bearer $ISOKERNEL_API_KEY"');
    delete shown.Authorization;
  }
  for (const [name, value] of Object.entries(shown))
    parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push(`--data-binary ${quote(body)}`);
  return parts.join(" \\\n  ");
}

function showStatus(form, text, kind = "") {
  const status = form.querySelector(".status");
  status.textContent = text;
  status.className = `status ${kind}`;
}

async function readText(response, show) {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += decoder.decode(value, { stream: !done });
    if (text.length > SHOWN_MAX) {
      await reader.cancel();
      return `${text.slice(0, SHOWN_MAX)}\n… (longer than this page shows)`;
    }
    if (done) return text;
    show(text);
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// What was just made is what is asked about next.
function fillForms(path, answer) {
  if (answer === null || typeof answer !== "object") return;
  const room = path.split("/")[1];
  for (const input of document.querySelectorAll('input[data-in="path"]')) {
    const same = input.form.dataset.path.split("/")[1] === room;
    const field = FIELDS[input.name] ?? input.name;
    // Many things have a name; the other fields mean the same in all answers.
    const shared = field === "name" ? undefined : answer[field];
    const found = same ? (answer[field] ?? answer.id) : shared;
    if (typeof found !== "string" || input.value === found) continue;
    input.value = found;
    showCurl(input.form);
  }
}

function showCurl(form) {
  form.closest("details").querySelector(".curl").textContent = asCurl(requestOf(form));
}

async function send(form) {
  const { method, url, headers, body } = requestOf(form);
  const output = form.querySelector(".answer");
  const [sendButton, stopButton] = form.querySelectorAll("button");
  const stopper = new AbortController();
  stopButton.onclick = () => stopper.abort();
  const show = (text) => {
    output.hidden = text === "";
    output.textContent = text;
  };
  show("");
  showStatus(form, "Waiting…");
  sendButton.disabled = true;
  stopButton.hidden = false;
  const began = performance.now();
  try {
    const { signal } = stopper;
    const response = await fetch(url, { method, headers, body, signal });
    const type = response.headers.get("Content-Type") ?? "";
    const context = response.headers.get("X-Context-Id");
    const tell = () => {
      const ms = Math.round(performance.now() - began);
      const parts = [`${response.status} ${response.statusText}`, `${ms} ms`, type];
      if (context) parts.push(`X-Context-Id: ${context}`);
      showStatus(form, parts.filter(Boolean).join(" · "), response.ok ? "good" : "bad");
    };
    tell();
    if (type.startsWith("application/octet-stream")) {
      show(`${(await response.arrayBuffer()).byteLength} bytes`);
    } else {
      const text = await readText(response, show);
      show(type.startsWith("application/json") ? pretty(text) : text);
      if (response.ok && type.startsWith("application/json") && text.length < SHOWN_MAX)
        fillForms(form.dataset.path, JSON.parse(text));
    }
    if (context) fillForms("/contexts", { context_id: context });
    tell();
  } catch (error) {
    const stopped = error.name === "AbortError";
    showStatus(form, stopped ? "Stopped" : `No answer: ${error.message}`, "bad");
  } finally {
    sendButton.disabled = false;
    stopButton.hidden = true;
  }
}

function openTarget() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target?.matches("details")) return;
  target.open = true;
  target.scrollIntoView();
}

for (const form of document.forms) {
  if (!form.dataset.path) continue;
  form.hidden = false;
  form.addEventListener("input", () => showCurl(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
  form.elements.body?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.elements.type?.addEventListener("change", ({ target }) => {
    form.elements.body.value = target.selectedOptions[0].dataset.example;
    showCurl(form);
  });
}
for (const name of ["key", "workspace"])
  byId(name).addEventListener("input", () => {
    for (const form of document.forms) if (form.dataset.path) showCurl(form);
  });
byId("access").hidden = false;
byId("access").addEventListener("submit", (event) => event.preventDefault());
byId("filter").hidden = false;
byId("filter").addEventListener("input", ({ target }) => {
  const words = target.value.toLowerCase().split(/\s+/);
  for (const item of document.querySelectorAll("nav li")) {
    const text = `${item.textContent} ${item.title}`.toLowerCase();
    item.hidden = !words.every((word) => text.includes(word));
  }
});
addEventListener("hashchange", openTarget);
openTarget();
