// The parser of addresses that Node.js had before the web's.
import { Url, format, parse, resolve, resolveObject } from "@jspm/core/nodelibs/url";

export const legacy = { Url, format, parse, resolve, resolveObject };
