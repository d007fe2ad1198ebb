"use strict";
// Where elements would be on a screen, by estimate: nothing here draws, but libraries ask how
// wide a text is before they place the next one. Texts are as wide as in Arial or Helvetica,
// give or take a tenth; SVG is placed as it says, HTML in one column.

const { Map, Set, max, min } = require("intrinsics");

const VIEW = { width: 800, height: 600 };
const FONT_SIZE = 16; // a browser's default
const ASCENT = 0.91; // of the font size; both by Arial
const DESCENT = 0.22;
const MONOSPACE = 0.6;
const WIDE = 1.15; // what Verdana, Open Sans and DejaVu are wider
const BOLD = 1.06;
// Thousandths of the font size, by what is most like a character.
const WIDTHS = [
  [/[ijl|!,.:;'`]/, 0.25],
  [/[ftrI()[\]{}\/\\ "-]/, 0.31],
  [/[mM%]/, 0.86],
  [/[W@—…]/, 0.97],
  [/[w+<>=~−]/, 0.62],
  [/[cksvxyzJ]/, 0.5],
  [/[A-Z&]/, 0.69],
  [/[\p{Mn}\u200b-\u200d\ufe00-\ufe0f]/u, 0],
  [/[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uff60\p{Extended_Pictographic}]/u, 1],
];
const OTHER = 0.556;
const UNDRAWN = new Set(["clippath", "defs", "desc", "filter", "head", "lineargradient", "marker",
  "mask", "metadata", "pattern", "radialgradient", "script", "style", "symbol", "title"]);
const INLINE = new Set(["a", "b", "code", "em", "i", "img", "label", "small", "span", "strong",
  "sub", "sup"]);
const CURVE_STEPS = 8;

const widthOf = new Map();

function characterWidth(character) {
  let width = widthOf.get(character);
  if (width === undefined) {
    width = WIDTHS.find(([pattern]) => pattern.test(character))?.[1] ?? OTHER;
    if (widthOf.size < 1000) widthOf.set(character, width);
  }
  return width;
}

const isElement = (node) => node?.nodeType === 1;
const nameOf = (element) => element.localName.toLowerCase();
// What an `innerHTML` gives within an `svg` has no namespace in linkedom.
const isSvg = (element) =>
  element.namespaceURI === "http://www.w3.org/2000/svg" || element.closest("svg") !== null;

/** What a property is by the element's own style or attribute; undefined if it says nothing. */
function declared(element, name) {
  return element.style?.getPropertyValue(name) || element.getAttribute(name) || undefined;
}

/** The same, or what the nearest of its ancestors says. */
function inherited(element, name) {
  for (let at = element; isElement(at); at = at.parentNode) {
    const value = declared(at, name);
    if (value !== undefined) return value;
  }
  return undefined;
}

/** A length in pixels; undefined where it depends on what has no size. */
function pixels(text, fontSize = FONT_SIZE) {
  const found = /^\s*(-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(px|em|rem|pt|ex)?\s*$/i.exec(text ?? "");
  if (found === null) return undefined;
  const unit = { em: fontSize, ex: fontSize / 2, rem: FONT_SIZE, pt: 4 / 3 };
  return +found[1] * (unit[found[2]?.toLowerCase()] ?? 1);
}

function fontSizeOf(element) {
  for (let at = element, factor = 1; isElement(at); at = at.parentNode) {
    const text = declared(at, "font-size");
    const share = /^([\d.]+)(em|%)$/.exec(text ?? "");
    if (share !== null) factor *= share[1] / (share[2] === "%" ? 100 : 1);
    else if (pixels(text) !== undefined) return pixels(text) * factor;
    if (!isElement(at.parentNode)) return FONT_SIZE * factor;
  }
  return FONT_SIZE;
}

/** The width of a text in a font. */
function widthIn(text, size, family, weight) {
  if (/mono|courier|consol/i.test(family)) return [...text].length * MONOSPACE * size;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  if (/verdana|open sans|dejavu/i.test(family)) width *= WIDE;
  if (/^bold|^[6-9]00/.test(weight)) width *= BOLD;
  return width * size;
}

/** The width of a text in the font of an element. */
function textWidth(text, element) {
  const of = (name) => inherited(element, name) ?? "";
  return widthIn(text, fontSizeOf(element), of("font-family"), of("font-weight"));
}

/** The width of a text in a font as CSS writes it: `bold 12px Arial`. */
function fontWidth(text, font) {
  const size = /(\S+?(?:px|pt|em|rem))(?:\/\S+)?\s/.exec(`${font} `);
  return widthIn(text, pixels(size?.[1]) ?? FONT_SIZE, font, /bold/.test(font) ? "bold" : "");
}

// Boxes: [left, top, right, bottom]; undefined where there is nothing.

const united = (one, other) => one === undefined ? other : other === undefined ? one
  : [min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])];

function around(points) {
  let box;
  for (const [x, y] of points) box = united(box, [x, y, x, y]);
  return box;
}

// Matrices: [a, b, c, d, e, f], as in `matrix(…)`.

const IDENTITY = [1, 0, 0, 1, 0, 0];
const multiplied = (m, n) => [
  m[0] * n[0] + m[2] * n[1], m[1] * n[0] + m[3] * n[1],
  m[0] * n[2] + m[2] * n[3], m[1] * n[2] + m[3] * n[3],
  m[0] * n[4] + m[2] * n[5] + m[4], m[1] * n[4] + m[3] * n[5] + m[5],
];
const moved = (m, [x, y]) => [m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5]];
const turned = (degrees) => {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), Math.sin(angle), -Math.sin(angle), Math.cos(angle), 0, 0];
};
const STEPS = {
  __proto__: null,
  matrix: (...m) => m,
  translate: (x, y = 0) => [1, 0, 0, 1, x, y],
  scale: (x, y = x) => [x, 0, 0, y, 0, 0],
  rotate: (degrees, x = 0, y = 0) =>
    multiplied(multiplied([1, 0, 0, 1, x, y], turned(degrees)), [1, 0, 0, 1, -x, -y]),
  skewX: (degrees) => [1, 0, Math.tan((degrees * Math.PI) / 180), 1, 0, 0],
  skewY: (degrees) => [1, Math.tan((degrees * Math.PI) / 180), 0, 1, 0, 0],
};
const NUMBERS = /[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?/gi;
const numbersIn = (text) => (text?.match(NUMBERS) ?? []).map(Number);

/** How an element places what is in it. */
function matrixOf(element) {
  let matrix = IDENTITY;
  if (!isSvg(element)) return matrix;
  const text = element.getAttribute("transform") ?? "";
  for (const [, name, values] of text.matchAll(/(\w+)\s*\(([^)]*)\)/g)) {
    const step = STEPS[name]?.(...numbersIn(values));
    if (step?.length === 6) matrix = multiplied(matrix, step);
  }
  if (nameOf(element) === "svg" && isElement(element.parentNode) && isSvg(element.parentNode)) {
    matrix = multiplied(matrix, [1, 0, 0, 1, number(element, "x"), number(element, "y")]);
  }
  return matrix;
}

/** How an element is placed on the screen, all that it is in included. */
function screenMatrix(element) {
  let matrix = IDENTITY;
  for (let at = element; isElement(at); at = at.parentNode) matrix = multiplied(matrixOf(at), matrix);
  return matrix;
}

function through(matrix, box) {
  if (box === undefined) return undefined;
  const [left, top, right, bottom] = box;
  const corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
  return around(corners.map((corner) => moved(matrix, corner)));
}

const number = (element, name) => pixels(element.getAttribute(name), FONT_SIZE) ?? 0;

/** Points along a path: curves in short lines, arcs as their chords. */
function pointsOf(path) {
  const points = [];
  let [x, y, startX, startY, controlX, controlY] = [0, 0, 0, 0, 0, 0];
  const go = (toX, toY) => void points.push([x = toX, y = toY]);
  const curve = (...controls) => {
    const from = [[x, y], ...controls];
    for (let step = 1; step <= CURVE_STEPS; step++) {
      let level = from;
      const t = step / CURVE_STEPS;
      while (level.length > 1) {
        level = level.slice(1).map(([px, py], i) =>
          [level[i][0] + (px - level[i][0]) * t, level[i][1] + (py - level[i][1]) * t]);
      }
      go(...level[0]);
    }
    [controlX, controlY] = controls[controls.length - 2];
  };
  const sizes = { m: 2, l: 2, h: 1, v: 1, c: 6, s: 4, q: 4, t: 2, a: 7, z: 0 };
  let before = "";
  for (const [, letter, text] of path.matchAll(/([mlhvcsqtaz])([^mlhvcsqtaz]*)/gi)) {
    const kind = letter.toLowerCase();
    const isRelative = kind === letter;
    const values = kind === "a" ? arcNumbers(text) : numbersIn(text);
    const size = sizes[kind];
    for (let at = 0; at === 0 || (size > 0 && at + size <= values.length); at += size || 1) {
      const [dx, dy] = isRelative ? [x, y] : [0, 0];
      const point = (i) => [values[at + i] + dx, values[at + i + 1] + dy];
      if (size > values.length - at && size > 0) break;
      const mirrored = /[csqt]/.test(before) ? [2 * x - controlX, 2 * y - controlY] : [x, y];
      if (kind === "z") go(startX, startY);
      else if (kind === "h") go(values[at] + dx, y);
      else if (kind === "v") go(x, values[at] + dy);
      else if (kind === "c") curve(point(0), point(2), point(4));
      else if (kind === "s") curve(mirrored, point(0), point(2));
      else if (kind === "q") curve(point(0), point(2));
      else if (kind === "t") curve(mirrored, point(0));
      else if (kind === "a") go(...point(5));
      else go(...point(0));
      if (kind === "m" && at === 0) [startX, startY] = [x, y];
      before = kind;
    }
  }
  return points;
}

/** An arc's numbers, whose two flags may stand without a space between them. */
function arcNumbers(text) {
  const arc = /([-+.\de]+)[\s,]+([-+.\de]+)[\s,]+([-+.\de]+)[\s,]+([01])[\s,]*([01])[\s,]*([-+]?[.\de]+)[\s,]*([-+]?[.\de]+)/gi;
  return [...text.matchAll(arc)].flatMap((found) => found.slice(1).map(Number));
}

/** The box of a text with its lines (`tspan`) and anchors. */
function textBox(element) {
  let box;
  let chunk = []; // boxes that are placed together, by their anchor
  let [x, y] = [0, 0];
  const close = (anchor) => {
    const width = chunk.reduce((sum, run) => sum + run[2] - run[0], 0);
    const shift = anchor === "middle" ? width / 2 : anchor === "end" ? width : 0;
    for (const [left, top, right, bottom] of chunk) {
      box = united(box, [left - shift, top, right - shift, bottom]);
    }
    chunk = [];
  };
  const visit = (node) => {
    const size = fontSizeOf(node);
    const at = (name) => pixels(numbersFirst(node.getAttribute(name)), size);
    if (at("x") !== undefined || at("y") !== undefined) close(inherited(node, "text-anchor"));
    x = (at("x") ?? x) + (at("dx") ?? 0);
    y = (at("y") ?? y) + (at("dy") ?? 0);
    for (const child of node.childNodes) {
      if (child.nodeType === 3) {
        const width = textWidth(child.data.replace(/\s+/g, " "), node);
        if (width > 0) chunk.push([x, y - ASCENT * size, x + width, y + DESCENT * size]);
        x += width;
      } else if (isElement(child) && !isHidden(child)) {
        visit(child);
      }
    }
  };
  visit(element);
  close(inherited(element, "text-anchor"));
  return box;
}

/** Positions may be lists, one for each character: the first counts. */
const numbersFirst = (text) => text?.trim().split(/[\s,]+/)[0];

const isHidden = (element) =>
  UNDRAWN.has(nameOf(element)) || declared(element, "display") === "none";

const SHAPES = {
  __proto__: null,
  circle: (e) => [number(e, "cx") - number(e, "r"), number(e, "cy") - number(e, "r"),
    number(e, "cx") + number(e, "r"), number(e, "cy") + number(e, "r")],
  ellipse: (e) => [number(e, "cx") - number(e, "rx"), number(e, "cy") - number(e, "ry"),
    number(e, "cx") + number(e, "rx"), number(e, "cy") + number(e, "ry")],
  line: (e) => around([[number(e, "x1"), number(e, "y1")], [number(e, "x2"), number(e, "y2")]]),
  path: (e) => around(pointsOf(e.getAttribute("d") ?? "")),
  polygon: (e) => around(pairs(numbersIn(e.getAttribute("points")))),
  polyline: (e) => around(pairs(numbersIn(e.getAttribute("points")))),
  text: textBox,
  tspan: textBox,
};
for (const name of ["foreignobject", "image", "rect"]) {
  SHAPES[name] = (e) => [number(e, "x"), number(e, "y"),
    number(e, "x") + number(e, "width"), number(e, "y") + number(e, "height")];
}
const pairs = (values) => values.flatMap((_, i) => (i % 2 === 1 ? [[values[i - 1], values[i]]] : []));

/** The box of an element of SVG in its own coordinates: that of its shape, or of all in it. */
function svgBox(element) {
  const shape = SHAPES[nameOf(element)];
  if (shape !== undefined) return shape(element);
  let box;
  for (const child of element.children) {
    if (!isHidden(child)) box = united(box, through(matrixOf(child), svgBox(child)));
  }
  return box;
}

/** The size that an element has by its style or attributes, in one direction. */
function stated(element, name) {
  return pixels(element.style?.getPropertyValue(name) || element.getAttribute(name));
}

/** The size of an element of HTML, or of an outermost `svg`. */
function sizeOf(element) {
  if (isHidden(element)) return { width: 0, height: 0 };
  if (isSvg(element)) {
    return { width: stated(element, "width") ?? 300, height: stated(element, "height") ?? 150 };
  }
  const isInline = INLINE.has(nameOf(element));
  let width = stated(element, "width");
  let height = stated(element, "height");
  if (width === undefined && !isInline) {
    const outer = element.parentNode;
    width = isElement(outer) ? sizeOfWidth(outer) : VIEW.width;
  }
  let content = 0;
  let line = 0;
  for (const child of element.childNodes) {
    if (child.nodeType === 3) line += textWidth(child.data.replace(/\s+/g, " "), element);
    else if (isElement(child) && INLINE.has(nameOf(child))) line += sizeOf(child).width;
    else if (isElement(child) && height === undefined) content += sizeOf(child).height;
  }
  width ??= line;
  const lines = line === 0 ? 0 : width > 0 ? Math.ceil(line / width) : 1;
  height ??= content + lines * fontSizeOf(element) * (ASCENT + DESCENT);
  return { width, height };
}

/** The width alone, for which what is in the element needn't be looked at. */
function sizeOfWidth(element) {
  for (let at = element; isElement(at); at = at.parentNode) {
    const width = stated(at, "width");
    if (width !== undefined) return width;
  }
  return VIEW.width;
}

/** The box of any element on the screen. */
function screenBox(element) {
  const outer = element.parentNode;
  const isOutermost = nameOf(element) === "svg" && !(isElement(outer) && isSvg(outer));
  if (isSvg(element) && !isOutermost) {
    return through(screenMatrix(element), svgBox(element)) ?? [0, 0, 0, 0];
  }
  const { width, height } = sizeOf(element);
  return [0, 0, width, height];
}

const rectangle = ([left, top, right, bottom]) => ({
  x: left, y: top, left, top, right, bottom, width: right - left, height: bottom - top,
});

function matrixObject(m) {
  const [a, b, c, d, e, f] = m;
  return {
    a, b, c, d, e, f,
    inverse() {
      const det = a * d - b * c;
      return matrixObject([d / det, -b / det, -c / det, a / det,
        (c * f - d * e) / det, (b * e - a * f) / det]);
    },
    multiply: (n) => matrixObject(multiplied(m, [n.a, n.b, n.c, n.d, n.e, n.f])),
    translate: (x, y) => matrixObject(multiplied(m, [1, 0, 0, 1, x, y])),
  };
}

function pointObject(x, y) {
  return {
    x, y,
    matrixTransform({ a, b, c, d, e, f }) {
      return pointObject(...moved([a, b, c, d, e, f], [this.x, this.y]));
    },
  };
}

/** How long a path is, and where one is after a part of it. */
function along(element, distance = Infinity) {
  const points = pointsOf(element.getAttribute("d") ?? "");
  let length = 0;
  for (let i = 1; i < points.length; i++) {
    const [[fromX, fromY], [toX, toY]] = [points[i - 1], points[i]];
    const step = Math.hypot(toX - fromX, toY - fromY);
    if (length + step >= distance) {
      const share = step === 0 ? 0 : (distance - length) / step;
      return { length, point: [fromX + (toX - fromX) * share, fromY + (toY - fromY) * share] };
    }
    length += step;
  }
  return { length, point: points[points.length - 1] ?? [0, 0] };
}

const methods = {
  getBoundingClientRect() {
    return rectangle(screenBox(this));
  },
  getClientRects() {
    return [rectangle(screenBox(this))];
  },
  getBBox() {
    return rectangle(svgBox(this) ?? [0, 0, 0, 0]);
  },
  getComputedTextLength() {
    return textWidth(this.textContent.replace(/\s+/g, " "), this);
  },
  getCTM() {
    return matrixObject(screenMatrix(this));
  },
  getScreenCTM() {
    return matrixObject(screenMatrix(this));
  },
  createSVGPoint: () => pointObject(0, 0),
  createSVGMatrix: () => matrixObject(IDENTITY),
  getTotalLength() {
    return along(this).length;
  },
  getPointAtLength(distance) {
    return pointObject(...along(this, distance).point);
  },
};

const sizes = {};
for (const kind of ["client", "offset", "scroll"]) {
  sizes[`${kind}Width`] = (element) => rectangle(screenBox(element)).width;
  sizes[`${kind}Height`] = (element) => rectangle(screenBox(element)).height;
  sizes[`${kind}Left`] = () => 0;
  sizes[`${kind}Top`] = () => 0;
}

/**
 * Gives the elements of a document's classes sizes and places.
 * @param {object} view the document's `defaultView`
 */
exports.install = function install(view) {
  const add = (prototype, name, descriptor) =>
    Object.defineProperty(prototype, name, { ...descriptor, configurable: true });
  for (const [name, value] of Object.entries(methods)) {
    add(view.Element.prototype, name, { value, writable: true });
  }
  for (const [name, measure] of Object.entries(sizes)) {
    add(view.Element.prototype, name, {
      get() {
        return measure(this);
      },
      set() {}, // scrollTop and the like: there is nothing to scroll
    });
  }
};

exports.VIEW = VIEW;
exports.declared = declared;
exports.fontWidth = fontWidth;
exports.fontSizeOf = fontSizeOf;
exports.inherited = inherited;
exports.isElement = isElement;
