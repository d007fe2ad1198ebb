// Checks types (typecheck/check.js) and lowers decorators (typescript/lower.js), and nothing
// else: no file is read or written with it.
export {
  DiagnosticCategory,
  ModuleDetectionKind,
  ModuleKind,
  NodeFlags,
  ScriptTarget,
  SyntaxKind,
  createProgram,
  createSourceFile,
  flattenDiagnosticMessageText,
  forEachChild,
  isClassStaticBlockDeclaration,
  isFunctionLike,
  isReturnStatement,
  transpileModule,
} from "typescript";
