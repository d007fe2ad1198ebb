"use strict";
// JSDoc comments: the one above a declaration in an earlier cell, as text and as Markdown.

const { RegExp, exec, includes, join, map, push, replace, slice, split, startsWith, trim, trimEnd } =
  require("intrinsics");
const { inputs } = require("results");

const COMMENT = /\/\*\*(?!\/)([^]*?)\*\//g;
const MARGIN = /^[ \t]*\*? ?/;
const SPECIAL = /[\\^$.*+?()[\]{}|]/g;
const TAG = /^@(\w+)(?:\s+\{([^}]*)\})?(?:\s+([^]*))?$/;
const LONGEST = 200000; // characters of a cell that is searched

/** What may stand between a comment and the name that it is about. */
const declares = (name) =>
  new RegExp(
    "^\\s*(?:export\\s+|default\\s+|declare\\s+|abstract\\s+|async\\s+|static\\s+|public\\s+|" +
      "private\\s+|protected\\s+|readonly\\s+|override\\s+|get\\s+|set\\s+|const\\s+|let\\s+|" +
      "var\\s+|class\\s+|interface\\s+|enum\\s+|type\\s+|function\\b\\s*|\\*\\s*|" +
      "[\\w$]+(?:\\.[\\w$]+)*\\.)*" +
      `${replace(name, SPECIAL, (sign) => `\\${sign}`)}(?![\\w$])`,
  );

/** The comment without its stars. */
const clean = (body) =>
  trim(join(map(split(body, "\n"), (line) => replace(line, MARGIN, "")), "\n"));

function findIn(code, declaration) {
  let found;
  COMMENT.lastIndex = 0;
  for (let hit = exec(COMMENT, code); hit !== null; hit = exec(COMMENT, code)) {
    const rest = slice(code, COMMENT.lastIndex, COMMENT.lastIndex + 500);
    if (exec(declaration, rest) !== null) found = clean(hit[1]);
  }
  return found;
}

/**
 * The comment above a name's latest declaration.
 * @param {string} name
 * @returns {string | undefined} its text, without stars
 */
exports.findComment = function findComment(name) {
  const declaration = declares(name);
  const cells = inputs();
  for (let i = cells.length - 1; i >= 0; i--) {
    const code = cells[i];
    if (code.length > LONGEST || !includes(code, "/**") || !includes(code, name)) continue;
    const found = findIn(code, declaration);
    if (found !== undefined) return found;
  }
  return undefined;
};

/** One tag as a Markdown line. */
function tagLine(text) {
  const hit = exec(TAG, text);
  if (hit === null) return text;
  const { 1: tag, 2: type, 3: rest = "" } = hit;
  const kind = type === undefined ? "" : ` *(${type})*`;
  if (tag === "param" || tag === "property") {
    const { 1: name, 2: words } = exec(/^(\[[^\]]*\]|\S*)\s*(?:-\s*)?([^]*)$/, rest);
    return `- \`${name}\`${kind}${words === "" ? "" : `: ${words}`}`;
  }
  return `- **${tag}**${kind}${rest === "" ? "" : ` ${rest}`}`;
}

/**
 * A comment's text as Markdown: tags become a list.
 * @param {string} text from findComment
 * @returns {string}
 */
exports.toMarkdown = function toMarkdown(text) {
  const lines = split(text, "\n");
  const parts = [];
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    const isTag = startsWith(line, "@");
    const isContinued = parts.length > 0 && startsWith(parts[parts.length - 1], "@");
    if (!isTag && isContinued && line !== "") {
      parts[parts.length - 1] = `${trimEnd(parts[parts.length - 1])} ${trim(line)}`;
    } else {
      push(parts, line);
    }
  }
  return join(map(parts, (part) => (startsWith(part, "@") ? tagLine(part) : part)), "\n");
};
