"use strict";
// What a page has beside its document, for libraries that only run in browsers. It is there
// when code asks for it, and never by itself: libraries tell by these names where they are.

const { defineProperty, hasOwn } = require("intrinsics");
const { VIEW, declared, fontSizeOf, inherited, install: installLayout, isElement } =
  require("layout");

const CLASSES = [
  "Attr", "CharacterData", "Comment", "DOMParser", "DocumentFragment", "DocumentType", "Element",
  "HTMLAnchorElement", "HTMLBodyElement", "HTMLButtonElement", "HTMLCanvasElement",
  "HTMLDivElement", "HTMLElement", "HTMLFormElement", "HTMLHeadElement", "HTMLIFrameElement",
  "HTMLImageElement", "HTMLInputElement", "HTMLLabelElement", "HTMLLinkElement",
  "HTMLMediaElement", "HTMLOptionElement", "HTMLParagraphElement", "HTMLScriptElement",
  "HTMLSelectElement", "HTMLSpanElement", "HTMLStyleElement", "HTMLTableElement",
  "HTMLTemplateElement", "HTMLTextAreaElement", "HTMLUnknownElement", "HTMLVideoElement",
  "MutationObserver", "NamedNodeMap", "Node", "NodeList", "SVGElement", "ShadowRoot", "Text",
];
const FRAME_MS = 16;
const INHERITED = /^(?:color|cursor|direction|fill|font|letter|line-height|stroke|text-a|visib|white)/;
const INITIAL = { __proto__: null, display: "block", height: "auto", opacity: "1",
  position: "static", transform: "none", visibility: "visible", width: "auto" };

const cssName = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What an element's own style and attributes, and those it is in, say; no sheets are read. */
function getComputedStyle(element) {
  const valueOf = (name) => {
    if (name === "font-size") return `${fontSizeOf(element)}px`;
    const value = INHERITED.test(name) ? inherited(element, name) : declared(element, name);
    return value ?? INITIAL[name] ?? "";
  };
  return new Proxy({}, {
    get(_, name) {
      if (name === "getPropertyValue") return valueOf;
      return typeof name === "string" ? valueOf(cssName(name)) : undefined;
    },
  });
}

/** Nothing of a screen matches, and nothing changes. */
function matchMedia(media) {
  const list = new EventTarget();
  return Object.assign(list, { media, matches: false, onchange: null, addListener() {},
    removeListener() {} });
}

/** Sizes don't change, and nothing scrolls into view. */
class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
  takeRecords() {
    return [];
  }
}

class XMLSerializer {
  serializeToString(node) {
    return isElement(node) ? node.outerHTML : node.toString();
  }
}

/** Pictures that nothing can decode: whoever waits for one is told. */
const imageOf = (view) => class Image extends view.Image {
  set src(value) {
    this.setAttribute("src", value);
    setTimeout(() => {
      const event = new view.Event("error");
      this.dispatchEvent(event);
      this.onerror?.(event);
    }, 0);
  }
  get src() {
    return this.getAttribute("src") ?? "";
  }
};

/** Lets elements take the context's own events, which the document's classes can't change. */
function takeEvents(view) {
  const { prototype } = view.EventTarget;
  const { dispatchEvent } = prototype;
  prototype.dispatchEvent = function dispatch(event) {
    if (!(event instanceof Event)) return dispatchEvent.call(this, event);
    const { type, bubbles, cancelable, detail } = event;
    const copy = new view.CustomEvent(type, { bubbles, cancelable, detail });
    const isDone = dispatchEvent.call(this, copy);
    if (copy.defaultPrevented) event.preventDefault();
    return isDone;
  };
}

function globalsOf(document) {
  const view = document.defaultView;
  const globals = {
    window: globalThis,
    document,
    Document: Object.getPrototypeOf(document.constructor),
    HTMLDocument: document.constructor,
    Image: imageOf(view),
    IntersectionObserver: class IntersectionObserver extends Observer {},
    ResizeObserver: class ResizeObserver extends Observer {},
    XMLSerializer,
    cancelAnimationFrame: (id) => clearTimeout(id),
    customElements: view.customElements,
    devicePixelRatio: 1,
    getComputedStyle,
    innerHeight: VIEW.height,
    innerWidth: VIEW.width,
    location: new URL("about:blank"),
    matchMedia,
    outerHeight: VIEW.height,
    outerWidth: VIEW.width,
    pageXOffset: 0,
    pageYOffset: 0,
    requestAnimationFrame: (call) => setTimeout(() => call(performance.now()), FRAME_MS),
    screen: { ...VIEW, availHeight: VIEW.height, availWidth: VIEW.width, colorDepth: 24 },
    scrollX: 0,
    scrollY: 0,
  };
  for (const name of CLASSES) globals[name] ??= view[name];
  return globals;
}

/**
 * Defines what a page has; names that are there already stay what they are.
 * @param {Document} document
 */
exports.install = function install(document) {
  if (globalThis.window === globalThis && globalThis.document === document) return;
  installLayout(document.defaultView);
  takeEvents(document.defaultView);
  require("canvas").install(document.defaultView);
  for (const [name, value] of Object.entries(globalsOf(document))) {
    if (hasOwn(globalThis, name)) continue;
    defineProperty(globalThis, name, {
      __proto__: null, value, writable: true, enumerable: false, configurable: true,
    });
  }
};
