// Everything of @exodus/bytes that knows UTF-8, UTF-16 and single-byte encodings. By paths and
// not by the package's exports, because `fallback/encoding.js` is what leaves the legacy
// multi-byte tables out; they are a bundle of their own, loaded when a label asks for them.
export {
  TextDecoder,
  TextEncoder,
  setMultibyte,
} from "../node_modules/@exodus/bytes/fallback/encoding.js";
export { percentEncodeAfterEncoding } from "@exodus/bytes/whatwg.js";
