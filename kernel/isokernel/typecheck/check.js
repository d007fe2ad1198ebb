"use strict";
// TypeScript's own checker on one piece of code. The language's declarations are parsed once;
// a program is made anew for each check, as code must not change what other code is checked
// against.

((ts, librariesJson, globals) => {
  const CODE = "/code.ts";
  const GLOBALS = "/globals.d.ts";
  const TOOLS = "/tools.d.ts";
  const NAMES = "/names.d.ts";
  const DEFAULT_LIBRARY = "lib.esnext.d.ts";
  const HEAD = "(async () => {\n"; // on a line of its own: columns stay
  const TAIL = "\n})();\n";
  const FOUND_MAX = 50;
  const MESSAGE_MAX = 2000;
  const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;
  // What holds for modules, and not for what a context runs.
  const IGNORED = new Set([
    1184, 1232, 1233, 1258, // `import` and `export` in a function, where the code is put
    1375, // top-level await only in a module
    2307, 2792, // a module that isn't found: nothing is known of what modules export
    2451, // a name declared again: later cells may
  ]);
  // A name that Node.js has; also told of its modules, whose specifiers are quoted.
  const NAME_OF_NODE = 2591;
  const QUOTE = /["']/;
  const OPTIONS = {
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.ESNext,
    moduleDetection: ts.ModuleDetectionKind.Force,
    strict: true,
    noImplicitAny: false, // code is written for one run: what has no type is `any`
    useUnknownInCatchVariables: false,
    noEmit: true,
    noResolve: true,
    skipLibCheck: true,
    types: [],
  };

  const parse = (name, text) =>
    ts.createSourceFile(name, text, { languageVersion: ts.ScriptTarget.ESNext }, false);
  const libraries = new Map();
  for (const [name, text] of Object.entries(JSON.parse(librariesJson))) {
    libraries.set(`/${name}`, parse(`/${name}`, text));
  }
  libraries.set(GLOBALS, parse(GLOBALS, globals));

  /** Whether a statement returns from the body that it is in. */
  function returns(node) {
    if (ts.isReturnStatement(node)) return true;
    if (ts.isFunctionLike(node) || ts.isClassStaticBlockDeclaration(node)) return false;
    return ts.forEachChild(node, returns) ?? false;
  }

  function programOf(files) {
    const find = (name) => files.get(name) ?? libraries.get(name);
    const host = {
      fileExists: (name) => find(name) !== undefined,
      readFile: (name) => find(name)?.text,
      getSourceFile: find,
      getDefaultLibFileName: () => `/${DEFAULT_LIBRARY}`,
      getDefaultLibLocation: () => "/",
      getCurrentDirectory: () => "/",
      getCanonicalFileName: (name) => name,
      useCaseSensitiveFileNames: () => true,
      getNewLine: () => "\n",
      writeFile: () => {},
    };
    return ts.createProgram({ rootNames: [GLOBALS, ...files.keys()], options: OPTIONS, host });
  }

  /** Says where a diagnostic is in the code; what is behind its end is at its end. */
  function described(diagnostic, file, before, code) {
    const lines = code.split("\n");
    const start = Math.min(diagnostic.start ?? 0, file.text.length);
    const { line, character } = file.getLineAndCharacterOfPosition(start);
    const last = code.length - code.lastIndexOf("\n"); // the column behind the last line
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    return {
      line: Math.max(Math.min(line - before + 1, lines.length), 1),
      column: line - before < lines.length ? character + 1 : last,
      code: diagnostic.code,
      message: text.length > MESSAGE_MAX ? `${text.slice(0, MESSAGE_MAX)}…` : text,
    };
  }

  /**
   * @param {string} code the body of an async function, or a cell
   * @param {string} declarations what it has beside the language and our globals
   * @param {string} namesJson names that have a value of any type
   * @returns {string} JSON: what is wrong, in order; each {line, column, code, message}
   */
  return (code, declarations, namesJson) => {
    let file = parse(CODE, code);
    const wrapped = returns(file);
    if (wrapped) file = parse(CODE, HEAD + code + TAIL);
    const names = JSON.parse(namesJson).filter((name) => IDENTIFIER.test(name));
    const declared = names.map((name) => `declare var ${name}: any;\n`).join("");
    const files = new Map([
      [TOOLS, parse(TOOLS, declarations)],
      [NAMES, parse(NAMES, declared)],
      [CODE, file],
    ]);
    const program = programOf(files);
    const found = [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
    ].filter(({ category, code: number, start }) => {
      if (category !== ts.DiagnosticCategory.Error || IGNORED.has(number)) return false;
      return number !== NAME_OF_NODE || !QUOTE.test(file.text[start]);
    });
    found.sort((a, b) => (a.start ?? 0) - (b.start ?? 0));
    const before = wrapped ? 1 : 0;
    return JSON.stringify(
      found.slice(0, FOUND_MAX).map((one) => described(one, file, before, code)),
    );
  };
});
