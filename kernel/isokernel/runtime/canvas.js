"use strict";
// What can be drawn on a `<canvas>` without a screen: rectangles and pixels, of which a PNG is
// made. There are no paths, texts and pictures; what a drawing lacks is better told than missing.

const { RangeError, WeakMap, toBase64, weakGet, weakSet } = require("intrinsics");
const { fontWidth } = require("layout");

const PIXELS_MAX = 16_777_216; // 64 MiB of them
const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const RGBA = [8, 6, 0, 0, 0]; // 8 bits each, with alpha
const HEX = /^#([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;
const FUNCTION = /^rgba?\(([^)]*)\)$/i;
const NAMED = { __proto__: null, black: "#000", transparent: "#0000", white: "#fff" };

/** A colour as four numbers; undefined for one of another kind. */
function colorOf(text) {
  const hex = HEX.exec(NAMED[text] ?? text)?.[1];
  if (hex !== undefined) {
    const digits = hex.length > 4 ? hex.match(/../g) : [...hex].map((digit) => digit + digit);
    const values = digits.map((two) => parseInt(two, 16));
    return [values[0], values[1], values[2], values[3] ?? 255];
  }
  const given = FUNCTION.exec(text)?.[1].split(/[\s,/]+/).filter(Boolean);
  if (given === undefined || given.length < 3) return undefined;
  const [r, g, b, a = 1] = given.map((part) =>
    part.endsWith("%") ? parseFloat(part) / 100 : parseFloat(part));
  return [r, g, b, a * 255];
}

class Context2D {
  #fill = "#000000";
  #color = [0, 0, 0, 255];
  #pixels;
  #size = "";

  constructor(canvas) {
    this.canvas = canvas;
    this.font = "10px sans-serif";
    this.globalAlpha = 1;
  }

  get fillStyle() {
    return this.#fill;
  }

  set fillStyle(value) {
    const color = colorOf(`${value}`);
    if (color === undefined) return; // as browsers do with what is no colour
    this.#fill = `${value}`;
    this.#color = color;
  }

  /** The pixels; blank ones if the canvas has another size now. */
  get #data() {
    const { width, height } = this.canvas;
    if (this.#size !== `${width}x${height}`) {
      if (width * height > PIXELS_MAX) {
        throw new RangeError(`a canvas has at most ${PIXELS_MAX} pixels`);
      }
      this.#size = `${width}x${height}`;
      this.#pixels = new Uint8ClampedArray(width * height * 4);
    }
    return this.#pixels;
  }

  /** Calls with the offset of each pixel of a rectangle that is on the canvas. */
  #each(x, y, width, height, call) {
    const { width: columns, height: rows } = this.canvas;
    const [left, right] = [x, x + width].map(Math.round).sort((a, b) => a - b);
    const [top, bottom] = [y, y + height].map(Math.round).sort((a, b) => a - b);
    for (let row = Math.max(top, 0); row < Math.min(bottom, rows); row++) {
      for (let column = Math.max(left, 0); column < Math.min(right, columns); column++) {
        call((row * columns + column) * 4, column, row);
      }
    }
  }

  fillRect(x, y, width, height) {
    const pixels = this.#data;
    const [r, g, b, a] = this.#color;
    const share = (a / 255) * this.globalAlpha;
    this.#each(x, y, width, height, (at) => {
      const below = (pixels[at + 3] / 255) * (1 - share);
      const alpha = share + below;
      if (alpha === 0) return;
      pixels[at] = (r * share + pixels[at] * below) / alpha;
      pixels[at + 1] = (g * share + pixels[at + 1] * below) / alpha;
      pixels[at + 2] = (b * share + pixels[at + 2] * below) / alpha;
      pixels[at + 3] = alpha * 255;
    });
  }

  clearRect(x, y, width, height) {
    const pixels = this.#data;
    this.#each(x, y, width, height, (at) => pixels.fill(0, at, at + 4));
  }

  createImageData(width, height) {
    if (width * height > PIXELS_MAX) {
      throw new RangeError(`a picture has at most ${PIXELS_MAX} pixels`);
    }
    return { width, height, data: new Uint8ClampedArray(width * height * 4) };
  }

  getImageData(x, y, width, height) {
    const made = this.createImageData(width, height);
    const pixels = this.#data;
    this.#each(x, y, width, height, (at, column, row) => {
      made.data.set(pixels.subarray(at, at + 4), ((row - y) * width + column - x) * 4);
    });
    return made;
  }

  putImageData({ width, height, data }, x, y) {
    const pixels = this.#data;
    this.#each(x, y, width, height, (at, column, row) => {
      const from = ((row - y) * width + column - x) * 4;
      pixels.set(data.subarray(from, from + 4), at);
    });
  }

  measureText(text) {
    return { width: fontWidth(`${text}`, this.font) };
  }

  /** The canvas as a PNG. */
  static encode(context) {
    const { width, height } = context.canvas;
    const { load } = require("node/index");
    const { crc32, deflateSync } = load("node:zlib");
    const { Buffer } = load("node:buffer");
    const pixels = context.#data;
    const lines = new Uint8Array((width * 4 + 1) * height); // each begins with its filter, 0
    for (let row = 0; row < height; row++) {
      const line = pixels.subarray(row * width * 4, (row + 1) * width * 4);
      lines.set(line, row * (width * 4 + 1) + 1);
    }
    const part = (name, bytes) => {
      const made = new Uint8Array(12 + bytes.length);
      const view = new DataView(made.buffer);
      view.setUint32(0, bytes.length);
      for (let i = 0; i < 4; i++) made[4 + i] = name.charCodeAt(i);
      made.set(bytes, 8);
      view.setUint32(8 + bytes.length, crc32(Buffer.from(made.buffer, 4, 4 + bytes.length)));
      return made;
    };
    const head = new Uint8Array(13);
    new DataView(head.buffer).setUint32(0, width);
    new DataView(head.buffer).setUint32(4, height);
    head.set(RGBA, 8);
    const parts = [part("IHDR", head), part("IDAT", new Uint8Array(deflateSync(Buffer.from(lines.buffer)))),
      part("IEND", new Uint8Array(0))];
    const size = parts.reduce((sum, one) => sum + one.length, SIGNATURE.length);
    const png = new Uint8Array(size);
    png.set(SIGNATURE);
    let at = SIGNATURE.length;
    for (const one of parts) {
      png.set(one, at);
      at += one.length;
    }
    return png;
  }
}

const contexts = new WeakMap();

function contextOf(canvas) {
  let context = weakGet(contexts, canvas);
  if (context === undefined) {
    context = new Context2D(canvas);
    weakSet(contexts, canvas, context);
  }
  return context;
}

/**
 * Gives the canvases of a document a context.
 * @param {object} view the document's `defaultView`
 */
exports.install = function install(view) {
  const { prototype } = view.HTMLCanvasElement;
  prototype.getContext = function getContext(kind) {
    return kind === "2d" ? contextOf(this) : null;
  };
  prototype.toDataURL = function toDataURL() {
    return `data:image/png;base64,${toBase64(Context2D.encode(contextOf(this)))}`;
  };
};
