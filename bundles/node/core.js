// Node.js's modules that others are made of; in one file, as they share their classes.
import assert from "@jspm/core/nodelibs/assert";
import buffer from "@jspm/core/nodelibs/buffer";
import events from "@jspm/core/nodelibs/events";
import path from "@jspm/core/nodelibs/path";
import querystring from "@jspm/core/nodelibs/querystring";
import stream, { promises as streamPromises } from "@jspm/core/nodelibs/stream";
import string_decoder from "@jspm/core/nodelibs/string_decoder";

export { assert, buffer, events, path, querystring, stream, streamPromises, string_decoder };
