"use strict";
// GeoJSON as a small map, which front ends show that have no extension for it. Getters and
// proxies are never asked; what is no position isn't drawn.

const { PI, cos, ceil, isArray, join, max, min, ownValue, push, toFixed } =
  require("intrinsics");
const { typeOf } = host;

const SIDE = 360; // pixels of the longer side
const MARGIN = 12;
const RADIUS = 4;
const POINTS_MAX = 5000; // about 60 kB; of longer lines every second, third, … is drawn
const DEPTH_MAX = 16;
const DEGREES_MAX = 90;
const STYLE = 'fill="#3388ff" fill-opacity="0.2" fill-rule="evenodd" stroke="#3388ff" ' +
  'stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round"';
const PARTS = { __proto__: null, FeatureCollection: "features", GeometryCollection: "geometries" };
// How many lists a geometry's positions are in.
const LEVELS = { __proto__: null, Point: 0, MultiPoint: 1, LineString: 1, MultiLineString: 2,
  Polygon: 2, MultiPolygon: 3 };

const isList = (value) => isArray(value) && typeOf(value) !== "Proxy";
const isNumber = (value) => typeof value === "number" && value - value === 0;

function property(value, name) {
  const isObject = typeof value === "object" && value !== null && typeOf(value) !== "Proxy";
  return isObject ? ownValue(value, name) : undefined;
}

/** The lists of positions that a geometry consists of, and what is drawn of them together. */
function shapesOf(type, coordinates) {
  if (type === "Point") return [{ type, lists: [[coordinates]] }];
  if (LEVELS[type] === 1) return [{ type, lists: [coordinates] }];
  if (!isList(coordinates)) return [];
  if (LEVELS[type] === 2) return [{ type, lists: coordinates }];
  const shapes = [];
  for (let i = 0; i < coordinates.length; i++) {
    push(shapes, { type, lists: ownValue(coordinates, i) });
  }
  return shapes;
}

/** Collects the shapes of a value; false if there are more than can be drawn. */
function collect(value, found, depth) {
  const type = property(value, "type");
  if (typeof type !== "string" || depth > DEPTH_MAX) return true;
  if (type === "Feature") return collect(property(value, "geometry"), found, depth + 1);
  if (type in PARTS) {
    const parts = property(value, PARTS[type]);
    for (let i = 0; isList(parts) && i < parts.length; i++) {
      if (!collect(ownValue(parts, i), found, depth + 1)) return false;
    }
    return true;
  }
  if (!(type in LEVELS)) return true;
  const shapes = shapesOf(type, property(value, "coordinates"));
  for (let i = 0; i < shapes.length; i++) {
    if (!isList(shapes[i].lists)) continue;
    found.lists += shapes[i].lists.length;
    if (found.lists > POINTS_MAX) return false;
    push(found.shapes, shapes[i]);
    for (let k = 0; k < shapes[i].lists.length; k++) {
      const list = ownValue(shapes[i].lists, k);
      if (isList(list)) found.points += list.length;
    }
  }
  return true;
}

/** The positions of a list: every `step`-th, and the last. */
function positionsOf(list, step, bounds) {
  const places = [];
  for (let i = 0; isList(list) && i < list.length; i += step) {
    if (i + step >= list.length) i = list.length - 1;
    const position = ownValue(list, i);
    const x = property(position, 0);
    const y = property(position, 1);
    if (!isNumber(x) || !isNumber(y)) continue;
    bounds.left = min(bounds.left, x);
    bounds.right = max(bounds.right, x);
    bounds.bottom = min(bounds.bottom, y);
    bounds.top = max(bounds.top, y);
    push(places, { x, y });
  }
  return places;
}

/** How positions become pixels: degrees are as wide as in the middle of the map. */
function projectionOf({ left, right, bottom, top }) {
  const isDegrees = max(top, -bottom) <= DEGREES_MAX;
  const shrink = isDegrees ? max(cos(((bottom + top) / 2 / 180) * PI), 0.1) : 1;
  const width = (right - left) * shrink;
  const height = top - bottom;
  const longer = max(width, height);
  if (!isNumber(longer)) return undefined;
  const scale = longer === 0 ? 0 : SIDE / longer;
  return {
    width: toFixed(width * scale + 2 * MARGIN, 0),
    height: toFixed(height * scale + 2 * MARGIN, 0),
    x: (x) => toFixed((x - left) * shrink * scale + MARGIN, 1),
    y: (y) => toFixed((top - y) * scale + MARGIN, 1),
  };
}

function drawn(type, lists, { x, y }) {
  const parts = [];
  const isPoints = type === "Point" || type === "MultiPoint";
  for (let i = 0; i < lists.length; i++) {
    for (let k = 0; k < lists[i].length; k++) {
      const at = lists[i][k];
      if (isPoints) push(parts, `<circle cx="${x(at.x)}" cy="${y(at.y)}" r="${RADIUS}"/>`);
      else push(parts, `${k === 0 ? "M" : "L"}${x(at.x)} ${y(at.y)}`);
    }
    if (LEVELS[type] > 1 && type !== "MultiLineString" && lists[i].length > 0) push(parts, "Z");
  }
  if (isPoints || parts.length === 0) return join(parts, "");
  const fill = type === "LineString" || type === "MultiLineString" ? ' fill="none"' : "";
  return `<path${fill} d="${join(parts, "")}"/>`;
}

/**
 * Draws GeoJSON.
 * @param {unknown} value
 * @returns {string | undefined} SVG; undefined if nothing of it can be drawn, or too much
 */
exports.mapOf = function mapOf(value) {
  const found = { shapes: [], lists: 0, points: 0 };
  if (!collect(value, found, 0)) return undefined;
  const step = max(1, ceil(found.points / POINTS_MAX));
  const bounds = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  const shapes = [];
  for (let i = 0; i < found.shapes.length; i++) {
    const { type, lists } = found.shapes[i];
    const places = [];
    for (let k = 0; k < lists.length; k++) {
      push(places, positionsOf(ownValue(lists, k), step, bounds));
    }
    push(shapes, { type, places });
  }
  const projection = projectionOf(bounds);
  if (projection === undefined) return undefined;
  let body = "";
  for (let i = 0; i < shapes.length; i++) body += drawn(shapes[i].type, shapes[i].places, projection);
  const { width, height } = projection;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}"><g ${STYLE}>${body}</g></svg>`;
};
