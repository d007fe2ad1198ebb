// What a module is, imports and exports, found without running it (lexing.py).
((moduleLexer, commonjsLexer) => {
  const { parse, stringify } = JSON;
  // False finds, such as those in comments, only load what is there anyway.
  const REQUIRE = /\brequire\s*\(\s*(?:"([^"\\\n]+)"|'([^'\\\n]+)'|`([^`\\$\n]+)`)\s*\)/g;
  // Without one of these words no text is a module; most CommonJS has neither.
  const SYNTAX = /\b(?:import|export)\b/;
  const REQUIRES_MAX = 10_000;

  const asModule = (text) => {
    const [found, , , syntax] = moduleLexer(text);
    const imports = [];
    for (const one of found) {
      const runs = one.type === "static" || one.type === "reexport-star";
      if (runs && !one.typeOnly && one.phase !== "source")
        imports.push([one.specifier, Object.fromEntries(one.attributes ?? [])]);
    }
    return { imports, syntax };
  };

  const asCommonJS = (text) => {
    const requires = new Set();
    for (const [, double, single, template] of text.matchAll(REQUIRE)) {
      requires.add(double ?? single ?? template);
      if (requires.size === REQUIRES_MAX) break;
    }
    let names = { exports: [], reexports: [] };
    try {
      names = commonjsLexer(text);
    } catch {
      // Then it has no names but `default`, as in Node.js.
    }
    const { exports, reexports } = names;
    return { requires: [...requires], exports: [...exports], reexports: [...reexports] };
  };

  // `format` is what name and package.json say; "" is for the text to say.
  return (text, format) => {
    let module;
    let error;
    if (format === "esm" || (format === "" && SYNTAX.test(text))) {
      try {
        module = asModule(text);
      } catch (thrown) {
        error = `${thrown.message}`;
      }
    }
    const is = format || (module?.syntax ? "esm" : "commonjs");
    if (is === "esm") return stringify({ format: is, imports: module?.imports ?? [], error });
    return stringify({ format: is, ...asCommonJS(text) });
  };
})
