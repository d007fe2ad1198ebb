// Big5, EUC-JP, EUC-KR, GBK, gb18030, ISO-2022-JP and Shift_JIS.
export { createMultibyteDecoder } from "@exodus/bytes/multi-byte.js";
export { multibyteEncoder } from "../node_modules/@exodus/bytes/fallback/multi-byte.js";
