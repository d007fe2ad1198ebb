// Checks types (typecheck/checker.py), and nothing else: no file is read or written with it.
export {
  DiagnosticCategory,
  ModuleDetectionKind,
  ModuleKind,
  ScriptTarget,
  createProgram,
  createSourceFile,
  flattenDiagnosticMessageText,
  forEachChild,
  isClassStaticBlockDeclaration,
  isFunctionLike,
  isReturnStatement,
} from "typescript";
