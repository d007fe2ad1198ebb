"use strict";
// Plain objects that are charts or maps: Vega and Vega-Lite by their $schema, GeoJSON by shape.

const { exec, getPrototype, isArray, ObjectPrototype, ownValue } = require("intrinsics");

const SCHEMA = /^https?:\/\/vega\.github\.io\/schema\/(vega|vega-lite)\/v(\d+)(?:\.[\d.]+)?\.json$/;
const NEWEST_DRAWN = 5;
const GEOJSON = "application/geo+json";
const GEOMETRIES = { __proto__: null, Point: 1, MultiPoint: 1, LineString: 1, MultiLineString: 1,
  Polygon: 1, MultiPolygon: 1 };

/**
 * The MIME types of a Vega or Vega-Lite specification: its version's, and for newer ones also
 * the newest that JupyterLab (4.6) knows, whose viewer draws them as well as it can.
 * @param {unknown} schema the specification's $schema
 * @returns {string[]} none when it is something else
 */
function chartTypes(schema) {
  const match = typeof schema === "string" ? exec(SCHEMA, schema) : null;
  if (match === null) return [];
  const type = (version) =>
    `application/vnd.${match[1] === "vega" ? "vega" : "vegalite"}.v${version}+json`;
  return +match[2] > NEWEST_DRAWN ? [type(match[2]), type(NEWEST_DRAWN)] : [type(match[2])];
}

function isGeoJson(object) {
  const type = ownValue(object, "type");
  if (typeof type !== "string") return false;
  if (type in GEOMETRIES) return isArray(ownValue(object, "coordinates"));
  if (type === "GeometryCollection") return isArray(ownValue(object, "geometries"));
  if (type === "FeatureCollection") return isArray(ownValue(object, "features"));
  return type === "Feature" && typeof ownValue(object, "geometry") === "object";
}

/**
 * @param {object} value
 * @returns {string[]} the MIME types under which front ends can draw it; none for other values
 */
exports.specTypes = function specTypes(value) {
  if (typeof value !== "object" || isArray(value)) return [];
  const prototype = getPrototype(value);
  if (prototype !== ObjectPrototype && prototype !== null) return [];
  const schema = ownValue(value, "$schema");
  if (schema !== undefined) return chartTypes(schema);
  return isGeoJson(value) ? [GEOJSON] : [];
};

/**
 * GeoJSON under its type, with a map for front ends that don't know it. Where one does, its
 * extension ranks before pictures.
 * @param {unknown} value
 * @returns {Record<string, unknown>}
 */
exports.geoBundle = function geoBundle(value) {
  return { __proto__: null, [GEOJSON]: value, "image/svg+xml": require("geojson").mapOf(value) };
};

exports.GEOJSON = GEOJSON;
exports.chartTypes = chartTypes;
