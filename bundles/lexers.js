// Find what a module imports and exports without running it (packages/lexers.js).
import commonjs from "cjs-module-lexer/lexer.js";
export { parse as parseModule } from "es-module-lexer";

export const parseCommonJS = commonjs.parse;
