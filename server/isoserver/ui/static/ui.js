"use strict";

// Keeps the page up to date, and sends its forms without leaving it. Everything is made
// by the server: what comes is HTML of this page, of which only what differs is changed,
// so that focus, selection and what is being written stay.

const FAILED_SECONDS = 5; // until the next attempt when the server can't be reached
const RECALLED_MAX = 100;
const SHOWN_MS = 4000;
const OWN = { DETAILS: ["open"], INPUT: ["value", "checked"], IFRAME: ["style"], BUTTON: ["disabled"] };

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const parse = (text) => new DOMParser().parseFromString(text, "text/html");
let etag = "";
let timer = 0;
let hiding = 0;
let sending = 0;

// -- what differs ---------------------------------------------------------------------

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  const own = OWN[old.nodeName] ?? [];
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value && !own.includes(name)) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !own.includes(name)) old.removeAttribute(name);
  if (old.matches("textarea, select")) return;
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const wantedIds = new Set([...fresh.children].map((child) => child.id));
  for (const child of [...old.children])
    if (child.id && !wantedIds.has(child.id)) child.remove();
  const known = new Map([...old.children].map((child) => [child.id, child]));
  let next = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let found = wanted.id ? known.get(wanted.id) : undefined;
    if (!found && next && next.nodeName === wanted.nodeName && !next.id && !wanted.id)
      found = next;
    if (!found) {
      old.insertBefore(document.importNode(wanted, true), next);
      continue;
    }
    // What is moved loses its focus, and a frame what is in it: rather what goes goes.
    while (next && next !== found && !next.id) {
      const after = next.nextSibling;
      next.remove();
      next = after;
    }
    if (found === next) next = next.nextSibling;
    else old.insertBefore(found, next);
    morph(found, wanted);
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

function show(fresh) {
  const followed = tails().filter((tail) => tail.scrollHeight - tail.scrollTop - tail.clientHeight < 8);
  const known = new Set(tails());
  document.title = fresh.title;
  morph(document.getElementById("top"), fresh.getElementById("top"));
  morph(main, fresh.getElementById("main"));
  for (const tail of tails()) if (followed.includes(tail) || !known.has(tail)) follow(tail);
}

// Output that grows shows its end, unless somebody has scrolled away from that.
const tails = () => [...main.querySelectorAll("[data-tail], .cell.running .out")];

function follow(tail) {
  tail.scrollTop = tail.scrollHeight;
}

// -- up to date -----------------------------------------------------------------------

function selects() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function plan(seconds) {
  clearTimeout(timer);
  if (main.dataset.refresh) timer = setTimeout(refresh, seconds * 1000);
}

async function refresh() {
  clearTimeout(timer);
  const seconds = Number(main.dataset.refresh);
  // What is being marked would be lost; nobody looks at what is hidden.
  if (document.hidden || selects() || sending) return plan(seconds);
  try {
    const headers = etag ? { "If-None-Match": etag } : {};
    const response = await fetch(location.href, { headers, cache: "no-store" });
    if (response.status === 401) return location.reload();
    if (response.status === 304) {
      if (notice.dataset.kind === "away") hide();
      return plan(seconds);
    }
    const fresh = parse(await response.text());
    if (!response.ok) {
      tell(problemOf(fresh, response), "away");
      return plan(Number(response.headers.get("Retry-After")) || FAILED_SECONDS);
    }
    if (sending) return plan(seconds);
    etag = response.headers.get("ETag") ?? "";
    if (notice.dataset.kind === "away") hide();
    show(fresh);
    plan(Number(main.dataset.refresh));
  } catch {
    tell("The server can't be reached. Trying again…", "away");
    plan(FAILED_SECONDS);
  }
}

// -- messages -------------------------------------------------------------------------

function hide() {
  notice.hidden = true;
  notice.dataset.kind = "";
}

function tell(text, kind = "") {
  clearTimeout(hiding);
  notice.textContent = text;
  notice.dataset.kind = kind;
  notice.className = kind && "bad";
  notice.hidden = false;
  if (kind !== "away") hiding = setTimeout(hide, kind ? 3 * SHOWN_MS : SHOWN_MS);
}

function problemOf(fresh, response) {
  const said = fresh.querySelector("[role=alert]")?.innerText.trim().replace(/\s+/g, " ");
  return said || `${response.status} ${response.statusText}`;
}

// -- forms ----------------------------------------------------------------------------

const sent = new WeakSet(); // forms whose answer hasn't come yet

async function send(form, submitter) {
  const { done } = form.dataset;
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !confirm(question)) return;
  const body = new URLSearchParams(new FormData(form, submitter));
  const buttons = form.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  sent.add(form);
  sending += 1;
  try {
    const response = await fetch(form.action, { method: "POST", body });
    const fresh = parse(await response.text());
    if (!response.ok) return tell(problemOf(fresh, response), "bad");
    if (response.url.split("#")[0] !== location.href.split("#")[0]) {
      location.assign(response.url);
      return;
    }
    if ("console" in form.dataset) remember(form);
    if ("reset" in form.dataset) form.reset();
    show(fresh);
    etag = "";
    if (done) tell(done);
  } catch {
    tell("The server can't be reached.", "bad");
  } finally {
    sent.delete(form);
    sending -= 1;
    for (const button of buttons) button.disabled = false;
    plan(Number(main.dataset.refresh));
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || "plain" in form.dataset) return;
  event.preventDefault();
  if (!sent.has(form)) send(form, event.submitter);
});

// -- the console ----------------------------------------------------------------------

const recalled = [];
let place = 0;

function remember(form) {
  const { code } = form.elements;
  recalled.push(code.value);
  recalled.splice(0, recalled.length - RECALLED_MAX);
  place = recalled.length;
  code.value = "";
  code.focus();
  requestAnimationFrame(() => form.scrollIntoView({ block: "nearest" }));
}

function recall(code, step) {
  const wanted = place + step;
  if (wanted < 0 || wanted > recalled.length) return false;
  place = wanted;
  code.value = recalled[place] ?? "";
  return true;
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (!target.matches?.("form textarea")) return;
  if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    target.form.requestSubmit();
  } else if (target.matches("[data-console] textarea") && !event.shiftKey) {
    const untouched = target.value === (recalled[place] ?? "");
    if (key === "ArrowUp" && untouched && recall(target, -1)) event.preventDefault();
    if (key === "ArrowDown" && untouched && recall(target, 1)) event.preventDefault();
  }
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && main.dataset.refresh) refresh();
});
tails().forEach(follow);
if (main.dataset.refresh) plan(Number(main.dataset.refresh));
