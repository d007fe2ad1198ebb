"use strict";
// Loads SWC and the reader of its source maps into an isolate of their own, and at its first
// use what rewrites declarations or lowers decorators. SWC's package expects three things of
// Node.js; the web modules and V8 itself have them.

((load, requireRuntime) => {
  const { TextDecoder, TextEncoder } = requireRuntime("web/encoding");
  const Buffer = { from: (text) => Uint8Array.fromBase64(text) };
  const run = (name, require) => {
    const module = { exports: {} };
    load(name)(module.exports, require, module, undefined, globalThis);
    return module.exports;
  };
  const loadCompiler = () => run("vendor/swc", () => ({ Buffer, TextDecoder, TextEncoder }));
  let swc = loadCompiler();
  const { TraceMap, originalPositionFor } = run("vendor/trace_mapping", () => undefined);

  const failure = (error) => ({
    message: String(error.message ?? error),
    code: error.code ?? "",
    line: error.startLine ?? 0,
    column: error.startColumn ?? 0,
    endLine: error.endLine ?? 0,
    endColumn: error.endColumn ?? 0,
  });

  const transform = (source, mode) => {
    try {
      const { code, map } = swc.transformSync(source, {
        filename: "cell.ts",
        mode: mode === "strip-only" ? mode : "transform",
        sourceMap: mode !== "strip-only",
        deprecatedTsModuleAsError: false,
        // What a cell imports, a later one may be the first to use; what a module doesn't
        // use are types.
        transform: { verbatimModuleSyntax: mode !== "module" },
      });
      return JSON.stringify({ code, map: map ?? null });
    } catch (error) {
      return JSON.stringify({ error: failure(hasBroken(error) ? broken(error) : error) });
    }
  };

  // WebAssembly that was ended amid its work, by a full stack above all, has not put its own
  // stack back: from then on it would refuse whatever comes.
  const hasBroken = (error) =>
    error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  const broken = (error) => {
    swc = loadCompiler();
    return error.message === "unreachable"
      ? { message: "the TypeScript compiler gave up" }
      : { message: "the code is nested too deeply" };
  };

  // What stands before the user's text on its first line doesn't count.
  let latest = { text: undefined, map: undefined, head: 0 };
  const original = (text, line, column) => {
    if (latest.text !== text) {
      const parsed = JSON.parse(text);
      latest = { text, map: new TraceMap(parsed), head: parsed.x_isokernel_head ?? 0 };
    }
    const found = originalPositionFor(latest.map, { line, column });
    if (found.line === 1) found.column = Math.max(found.column - latest.head, 0);
    return JSON.stringify([found.line, found.column]);
  };

  let bodies;
  const withoutReturn = (code) => {
    bodies ??= run("bodies", (name) => run(name));
    return bodies.withoutReturn(code) ?? "";
  };

  let rewriter;
  const redeclare = (...details) => {
    rewriter ??= run("redeclare", (name) => run(name));
    return rewriter.redeclare(...details);
  };
  let splitting;
  const split = (code) => {
    splitting ??= run("imports", (name) => run(name));
    return splitting.split(code);
  };
  let lowering;
  const lower = (code, head, tail) => {
    lowering ??= run("lower", (name) => run(name, () => undefined));
    return JSON.stringify(lowering.lower(code, head, tail));
  };
  return { transform, original, redeclare, withoutReturn, split, lower };
});
