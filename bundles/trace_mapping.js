export { TraceMap, originalPositionFor } from "@jridgewell/trace-mapping";
