"use strict";
// Modules of Node.js for what a context has none of: processes, sockets, servers, terminals. They
// can be imported, as packages do that don't use them then; what is used of them throws.

const LOOK_UPS = "getServers lookup lookupService resolve resolve4 resolve6 resolveAny resolveCaa " +
  "resolveCname resolveMx resolveNaptr resolveNs resolvePtr resolveSoa resolveSrv resolveTxt " +
  "reverse setServers";

const FUNCTIONS = {
  __proto__: null,
  child_process: "exec execFile execFileSync execSync fork spawn spawnSync",
  cluster: "disconnect fork setupMaster setupPrimary",
  dgram: "createSocket",
  dns: LOOK_UPS,
  "dns/promises": LOOK_UPS,
  domain: "create createDomain",
  http: "createServer get request setMaxIdleHTTPParsers validateHeaderName validateHeaderValue",
  http2: "connect createSecureServer createServer getDefaultSettings getPackedSettings " +
    "getUnpackedSettings performServerHandshake",
  https: "createServer get request",
  inspector: "close open url waitForDebugger",
  "inspector/promises": "close open url waitForDebugger",
  net: "connect createConnection createServer",
  readline: "clearLine clearScreenDown createInterface cursorTo emitKeypressEvents moveCursor",
  "readline/promises": "createInterface",
  repl: "isValidSyntax start writer",
  tls: "checkServerIdentity connect convertALPNProtocols createSecureContext createSecurePair " +
    "createServer getCiphers",
  trace_events: "createTracing getEnabledCategories",
  wasi: "",
};

const CLASSES = {
  __proto__: null,
  child_process: "ChildProcess",
  cluster: "Worker",
  dgram: "Socket",
  dns: "Resolver",
  "dns/promises": "Resolver",
  domain: "Domain",
  http: "Agent ClientRequest IncomingMessage OutgoingMessage Server ServerResponse",
  http2: "Http2ServerRequest Http2ServerResponse",
  https: "Agent Server",
  inspector: "Session",
  "inspector/promises": "Session",
  net: "BlockList Server Socket SocketAddress Stream",
  readline: "Interface",
  "readline/promises": "Interface Readline",
  repl: "REPLServer Recoverable",
  tls: "SecureContext Server TLSSocket",
  wasi: "WASI",
};

const INSTEAD = {
  __proto__: null,
  http: "use fetch",
  https: "use fetch",
  http2: "use fetch",
  readline: "use prompt()",
  "readline/promises": "use prompt()",
};

const METHODS = ("ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE " +
  "MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY " +
  "REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE").split(" ");

const STATUS_CODES = {
  100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints", 200: "OK",
  201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
  205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported",
  226: "IM Used", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Found",
  303: "See Other", 304: "Not Modified", 305: "Use Proxy", 307: "Temporary Redirect",
  308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
  403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
  407: "Proxy Authentication Required", 408: "Request Timeout", 409: "Conflict", 410: "Gone",
  411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
  414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable",
  417: "Expectation Failed", 418: "I'm a Teapot", 421: "Misdirected Request",
  422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency", 425: "Too Early",
  426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
  431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
  500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
  503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
  506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected",
  509: "Bandwidth Limit Exceeded", 510: "Not Extended", 511: "Network Authentication Required",
};

const IP4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;

function isIPv6(text) {
  try {
    return /^[\da-f:.]+$/i.test(text) && new URL(`http://[${text}]/`).hostname !== "";
  } catch {
    return false;
  }
}

/** What there is of these modules all the same. */
const MORE = {
  __proto__: null,
  cluster: () => ({ SCHED_NONE: 1, SCHED_RR: 2, isMaster: true, isPrimary: true, isWorker: false,
    schedulingPolicy: 2, settings: {}, workers: {} }),
  dns: () => ({ ...resultOrder, ...dnsErrors(), ADDRCONFIG: 32, V4MAPPED: 8, ALL: 16,
    promises: stub("dns/promises") }),
  "dns/promises": () => ({ ...resultOrder, ...dnsErrors() }),
  domain: () => ({ active: null }),
  http: () => ({ METHODS, STATUS_CODES, globalAgent: undefined, maxHeaderSize: 16384 }),
  https: () => ({ globalAgent: undefined }),
  http2: () => ({ constants: {}, sensitiveHeaders: Symbol("sensitiveHeaders") }),
  inspector: () => ({ Network: {}, console: globalThis.console }),
  "inspector/promises": () => ({ Network: {}, console: globalThis.console }),
  net: () => ({ getDefaultAutoSelectFamily: () => true,
    getDefaultAutoSelectFamilyAttemptTimeout: () => 250, setDefaultAutoSelectFamily() {},
    setDefaultAutoSelectFamilyAttemptTimeout() {}, isIP: (text) => (IP4.test(text) ? 4 : isIPv6(text) ? 6 : 0), isIPv6,
    isIPv4: (text) => IP4.test(text) }),
  readline: () => ({ promises: stub("readline/promises") }),
  repl: () => ({ REPL_MODE_SLOPPY: Symbol("repl-sloppy"), REPL_MODE_STRICT: Symbol("repl-strict"),
    builtinModules: require("node/index").names() }),
  tls: () => ({ CLIENT_RENEG_LIMIT: 3, CLIENT_RENEG_WINDOW: 600, DEFAULT_CIPHERS: "",
    DEFAULT_ECDH_CURVE: "auto", DEFAULT_MAX_VERSION: "TLSv1.3", DEFAULT_MIN_VERSION: "TLSv1.2",
    rootCertificates: [] }),
};

// What packages set when they are loaded changes nothing.
const resultOrder = { getDefaultResultOrder: () => "verbatim", setDefaultResultOrder() {} };

const DNS_ERRORS = "ADDRGETNETWORKPARAMS BADFAMILY BADFLAGS BADHINTS BADNAME BADQUERY BADRESP " +
  "BADSTR CANCELLED CONNREFUSED DESTRUCTION FILE FORMERR LOADIPHLPAPI NODATA NOMEM NONAME NOTFOUND " +
  "NOTIMP NOTINITIALIZED REFUSED SERVFAIL TIMEOUT";

/** The names of errors, which are those of their codes without the first letter. */
function dnsErrors() {
  const codes = { EOF: "EOF" };
  for (const name of listed(DNS_ERRORS)) codes[name] = `E${name}`;
  return codes;
}

/** The error of what isn't there. */
function refusal(name, what) {
  const instead = INSTEAD[name] === undefined ? "" : `; ${INSTEAD[name]}`;
  const error = new Error(`node:${name}: ${what} is not available in a context${instead}`);
  error.code = "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM";
  return error;
}

function refusedFunction(module, name) {
  const made = {
    [name]() {
      throw refusal(module, name);
    },
  };
  return made[name];
}

function refusedClass(module, name) {
  const made = {
    [name]: class {
      constructor() {
        throw refusal(module, name);
      }
    },
  };
  return made[name];
}

const listed = (names = "") => (names === "" ? [] : names.split(" "));

/** Makes a module of which nothing can be used. */
function stub(module) {
  const exports = {};
  for (const name of listed(FUNCTIONS[module])) exports[name] = refusedFunction(module, name);
  for (const name of listed(CLASSES[module])) exports[name] = refusedClass(module, name);
  return Object.assign(exports, MORE[module]?.());
}

module.exports = { STUBS: Object.keys(FUNCTIONS), refusal, refusedClass, refusedFunction, stub };
