"""Node.js's built-in modules, in one context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.support.documents import ROOT
from tests.support.local_contexts import LocalContext

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalContext]:
    made = LocalContext()
    made.run("1")  # its watchdog's thread begins
    yield made
    made.context.close()


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("path", "m.join('/a', '../b') + m.posix.basename('/x/y.js')", "'/by.js'"),
        ("path/posix", "m.resolve('q')", "'/q'"),
        ("util", "m.inspect({a: 1}) + m.format('%s %d', 'x', 3)", "'{ a: 1 }x 3'"),
        ("util", "m.isDeepStrictEqual({a: [1]}, {a: [1]})", "true"),
        ("util", "await m.promisify((a, f) => f(null, a + 1))(1)", "2"),
        (
            "util",
            "m.parseArgs({args: ['-v'], options: {all: {type: 'boolean', "
            "short: 'v'}}}).values.all",
            "true",
        ),
        (
            "util/types",
            "[m.isMap(new Map), m.isProxy(new Proxy({}, {}))].join()",
            "'true,true'",
        ),
        (
            "events",
            "let seen = 0; const e = new m.EventEmitter();"
            "e.on('x', (v) => { seen += v }); e.emit('x', 2); seen",
            "2",
        ),
        (
            "events",
            "const f = new m.EventEmitter();"
            "(await Promise.all([m.once(f, 'y'), f.emit('y', 5)]))[0][0]",
            "5",
        ),
        ("buffer", "m.Buffer.from('héllo').toString('base64')", "'aMOpbGxv'"),
        ("buffer", "m.Buffer === Buffer && m.isUtf8(Buffer.from('é'))", "true"),
        (
            "assert",
            "try { m.deepStrictEqual({a: 1}, {a: 2}) } catch (e) { e.code }",
            "'ERR_ASSERTION'",
        ),
        (
            "url",
            "m.fileURLToPath('file:///a%20b') + m.pathToFileURL('/a b').href",
            "'/a bfile:///a%20b'",
        ),
        ("url", "m.parse('http://x.y/z?q=1').query + (m.URL === URL)", "'q=1true'"),
        ("querystring", "m.stringify({a: [1, 2]}) + m.parse('a=1').a", "'a=1&a=21'"),
        (
            "string_decoder",
            "const d = new m.StringDecoder('utf8');"
            "d.write(new Uint8Array([0xe2, 0x82])) + d.write(new Uint8Array([0xac]))",
            "'€'",
        ),
        (
            "stream",
            "let text = ''; for await (const part of m.Readable.from(['a', 'b'])"
            ".pipe(new m.Transform({ transform(part, _, done) {"
            "done(null, String(part).toUpperCase()) } }))) text += part; text",
            "'AB'",
        ),
        ("stream", "m.Readable.prototype instanceof require('events')", "true"),
        (
            "stream/promises",
            "const taken = []; await m.pipeline(['a', 'b'], "
            "new (require('stream').Writable)({ write(part, _, done) {"
            "taken.push(String(part)); done() } })); taken.join()",
            "'a,b'",
        ),
        ("stream/consumers", "await m.text(['a', 'b'])", "'ab'"),
        ("stream/web", "m.ReadableStream === ReadableStream", "true"),
        ("process", "m.default === process && m.cwd()", "'/'"),
        ("timers", "typeof m.setImmediate", "'function'"),
        ("timers/promises", "await m.setTimeout(1, 'ok')", "'ok'"),
        (
            "timers/promises",
            "await m.setTimeout(1e6, 0, {signal: AbortSignal.abort()})"
            ".catch((e) => e.code)",
            "'ABORT_ERR'",
        ),
        ("os", "m.EOL + m.platform()", "'\\nlinux'"),
        (
            "crypto",
            "m.createHash('sha256').update('x').digest('hex').slice(0, 8)",
            "'2d711642'",
        ),
        (
            "crypto",
            "m.createHmac('md5', 'k').update('x').digest('base64')",
            "'RCugeejsYgb39VNNRlPbDw=='",
        ),
        (
            "crypto",
            "m.pbkdf2Sync('a', 'b', 1, 8, 'sha1').toString('hex')",
            "'b08f749cb72e94be'",
        ),
        ("crypto", "m.randomBytes(70000).length + m.randomInt(5, 6)", "70005"),
        (
            "crypto",
            "try { m.createSign('x') } catch (e) { e.message }",
            "'node:crypto: createSign is not available in a context'",
        ),
        ("module", "m.createRequire('file:///')('path').sep", "'/'"),
        ("perf_hooks", "m.performance === performance", "true"),
        ("worker_threads", "m.isMainThread", "true"),
        ("vm", "m.runInThisContext('1 + 1')", "2"),
        ("zlib", "m.gunzipSync(m.gzipSync('x')).toString()", "'x'"),
        ("zlib", "m.gzipSync('x') instanceof Buffer", "true"),
        ("zlib", "m.crc32('hello') + m.constants.Z_SYNC_FLUSH", "907060872"),
        (
            "zlib",
            "await new Promise((done) => m.deflate('abc', (_, data) => "
            "done(m.inflateSync(data).toString())))",
            "'abc'",
        ),
        (
            "dns",
            "m.setDefaultResultOrder('ipv4first'), m.ADDRCONFIG + m.NODATA",
            "'32ENODATA'",
        ),
        ("dns/promises", "typeof m.resolveCaa + m.TIMEOUT", "'functionETIMEOUT'"),
        ("net", "m.getDefaultAutoSelectFamily() + typeof m.Socket", "'truefunction'"),
        ("repl", "m.builtinModules.includes('fs')", "true"),
        (
            "querystring",
            "m.escape('ä b') + m.unescape('%zz%20') + m.parse('a=1').a",
            "'%C3%A4%20b%zz 1'",
        ),
        ("querystring", "m.unescapeBuffer('%ff')[0]", "255"),
        (
            "http",
            "try { m.validateHeaderName('x') } catch (e) { e.code }",
            "'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM'",
        ),
        (
            "http",
            "try { m.request() } catch (e) { e.message + m.STATUS_CODES[404] }",
            "'node:http: request is not available in a context; use fetchNot Found'",
        ),
        ("net", "m.isIP('1.2.3.4') + m.isIP('::1') + m.isIP('1.2.3')", "10"),
        ("punycode", "m.toASCII('ü.x')", "'xn--tda.x'"),
        ("tty", "m.isatty(1)", "false"),
        (
            "diagnostics_channel",
            "let told; m.subscribe('c', (v) => { told = v });"
            "m.channel('c').publish(7); told",
            "7",
        ),
    ],
)
def test_what_a_module_does(
    shared: LocalContext, name: str, code: str, text: str
) -> None:
    shared.run(f"var m = await import('node:{name}')")
    assert shared.value(code) == text


def test_every_module_can_be_imported_and_required(shared: LocalContext) -> None:
    code = """
    const failed = [];
    for (const name of require('module').builtinModules) {
      const namespace = await import(name);
      const same = namespace.default === require(`node:${name}`);
      if (!same || Object.keys(namespace).length < 2) failed.push(name);
    }
    failed.join()
    """
    assert shared.value(code) == "'constants'" or shared.value(code) == "''"


def test_a_module_that_is_none(shared: LocalContext) -> None:
    failure = shared.run("await import('node:nothing')").failure
    assert failure.evalue == "No such built-in module: node:nothing"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("storage.run(5, () => storage.getStore())", "5"),
        (
            "await storage.run(6, async () => { await 0; return storage.getStore() })",
            "6",
        ),
        (
            "await storage.run(7, () => new Promise((done) => setTimeout(() => "
            "done(storage.getStore()), 1)))",
            "7",
        ),
        (
            "storage.run(8, AsyncLocalStorage.snapshot)(() => storage.getStore())",
            "8",
        ),
        (
            "`${storage.run(1, () => storage.exit(() => storage.getStore()))}`",
            "'undefined'",
        ),
        ("String(storage.getStore())", "'undefined'"),
    ],
)
def test_what_is_carried_along(shared: LocalContext, code: str, text: str) -> None:
    shared.run(
        "var { AsyncLocalStorage } = require('async_hooks');"
        "var storage = globalThis.storage ?? new AsyncLocalStorage()"
    )
    assert shared.value(code) == text


def test_output_within_a_storage_belongs_to_its_cell(shared: LocalContext) -> None:
    outcome = shared.run(
        "const inner = new (require('async_hooks').AsyncLocalStorage)();"
        "await inner.run(1, async () => { await null; console.log('mine');"
        "Promise.reject(new Error('late')); })"
    )
    assert outcome.stdout == "mine\n"
    assert "late" in outcome.stderr


def test_globals_that_packages_look_for(shared: LocalContext) -> None:
    code = "[Buffer.from('a').length, global === self, require.resolve('fs'), "
    code += "navigator.userAgent, process.on('exit', () => {}) === process].join()"
    assert shared.value(code) == "'1,true,fs,isokernel,true'"


def test_nobody_finds_a_c_library_in_the_report(shared: LocalContext) -> None:
    """As loaders of native add-ons look for it; they go on to what says why not."""
    code = (
        "const { header: { glibcVersionRuntime }, sharedObjects } = "
        "process.report.getReport(); [glibcVersionRuntime, sharedObjects]"
    )
    assert shared.value(code) == "[ undefined, [] ]"


def test_libraries_are_loaded_though_built_ins_were_changed() -> None:
    broken = LocalContext()
    try:
        broken.run("Object.keys = null; Map = null; Array.from = null; 0")
        assert broken.value("Buffer.from('abc').toString('hex')") == "'616263'"
        code = "import path from 'node:path'; path.join('a', 'b')"
        assert broken.value(code) == "'a/b'"
    finally:
        broken.context.close()


def test_the_document_lists_all_modules(shared: LocalContext) -> None:
    text = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    table = text.partition("| module |")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    names = shared.value("require('module').builtinModules.join()")
    assert listed == set(names.strip("'").split(","))
