"""Random modules and calls, in a context that is saved in between and in its twin."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.support import wasm
from tests.support.local_contexts import LocalContext
from tests.support.wasm import I32, body, name, signature, signed, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.slow

I64, F32, F64, FUNCREF, EXTERNREF = b"\x7e", b"\x7d", b"\x7c", b"\x70", b"\x6f"
FUNCTION, TABLE, MEMORY, GLOBAL = range(4)
ENTRIES: Final = 6
STEPS: Final = 40
LOCAL = b"\x20\0"
TYPE: Final = unsigned(0)  # of all functions: an integer to an integer

# A global's type, its first value, what makes an integer of it, and it of an integer.
KINDS: Final[list[tuple[bytes, Callable[[int], bytes], bytes, bytes]]] = [
    (I32, lambda number: b"\x41" + signed(number), b"", b""),
    (I64, lambda number: b"\x42" + signed(number << 20), b"\xa7", b"\xac"),
    (
        F32,
        lambda number: b"\x43" + bytes((0, 0, number & 0x7F, 0x42)),
        b"\xa8",
        b"\xb2",
    ),
    (F64, lambda _number: b"\x44" + bytes(6) + b"\x59\x40", b"\xaa", b"\xb7"),
]


class Module:
    """A random module, and what it exports by name."""

    def __init__(self, source: random.Random, *, imported: bool) -> None:
        """Make one; it imports memory, table and a variable of another one, or none."""
        self._source = source
        variables = [source.choice(KINDS) for _ in range(source.randint(1, 5))]
        mutable = [source.random() < 0.8 for _ in variables]
        # The first is exported by one, and imported by the other.
        variables.insert(0, KINDS[0])
        mutable.insert(0, True)
        code = [LOCAL + b"\x10\0"]
        for index, variable in enumerate(variables):
            code += self._variable(index, variable, change=mutable[index])
        address = b"\x41\x1f\x71"  # and 31
        code += [
            LOCAL + address + b"\x2d\0\0",
            LOCAL + address + LOCAL + b"\x3a\0\0" + LOCAL,
            LOCAL + b"\x41\1\x71\x40\0",
            b"\x3f\0",
            LOCAL + LOCAL + b"\x41" + signed(ENTRIES - 1) + b"\x71\x11" + TYPE + b"\0",
            # Three bytes of the data that isn't copied at the start.
            b"\x41\x08\x41\0\x41\x03\xfc\x08\1\0\x41\x08\x2d\0\0",
            LOCAL + b"\x41\1\x71\x04\x7f\x41\2\x05\x41\3\x0b",
        ]
        first = 1  # after the imported function
        self.functions = [f"f{index}" for index in range(len(code))]
        exports = [
            name(f"f{index}") + bytes((FUNCTION,)) + unsigned(first + index)
            for index in range(len(code))
            if source.random() < 0.8
        ]
        self.exported = len(exports)
        for kind, each in ((MEMORY, "memory"), (TABLE, "table")):
            if not imported or source.random() < 0.5:
                exports.append(name(each) + bytes((kind, 0)))
        shown = [
            index
            for index in range(len(variables))
            if source.random() < 0.5 or (not imported and not index)
        ]
        exports += [
            name(f"g{index}") + bytes((GLOBAL,)) + unsigned(index) for index in shown
        ]
        imports = [name("env") + name("callback") + b"\0" + TYPE]
        if imported:
            imports += [
                name("a") + name("memory") + b"\2\0" + unsigned(1),
                name("a") + name("table") + b"\1" + FUNCREF + b"\0" + unsigned(ENTRIES),
                name("a") + name("g0") + b"\3" + I32 + b"\1",
            ]
        own = list(zip(variables, mutable, strict=True))[1 if imported else 0 :]
        elements = [
            b"\0"
            + wasm.constant(source.randrange(ENTRIES - 2))
            + wasm.vector(
                unsigned(source.randrange(1 + len(code)))
                for _ in range(source.randint(0, 2))
            )
            for _ in range(source.randint(0, 3))
        ]
        data = [b"\0" + wasm.constant(source.randrange(32)) + name("start")]
        self.bytes = wasm.module(
            {
                1: [signature(1, 1)],
                2: imports,
                3: [TYPE] * len(code),
                **({} if imported else {4: [FUNCREF + b"\0" + unsigned(ENTRIES)]}),
                **({} if imported else {5: [b"\1" + unsigned(1) + unsigned(4)]}),
                6: [
                    kind[0]
                    + bytes((change,))
                    + kind[1](source.randrange(60))
                    + wasm.END
                    for kind, change in own
                ],
                7: exports,
                9: elements,
                12: unsigned(2),
                10: [body(one) for one in code],
                11: [*data, b"\1" + name("passive")],
            }
        )

    def _variable(
        self, index: int, kind: Sequence[Any], *, change: bool
    ) -> list[bytes]:
        place = unsigned(index)
        read = b"\x23" + place + kind[2]
        if not change:
            return [read]
        return [read, LOCAL + kind[3] + b"\x24" + place + b"\x23" + place + kind[2]]


PROGRAM = """
var seen = [];
const env = { callback: (x) => (seen.length < 1e4 && seen.push(x), x + 1) };
const make = (bytes, imports) =>
  new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(bytes)), imports)
    .exports;
var a = make(%s, { env }); var b = make(%s, { env, a }); var kept = [];
function step(module, name, number) {
  const of = module ? b : a;
  try {
    const member = of[name];
    if (member === undefined) return "none";
    if (typeof member === "function") {
      if (!kept.includes(member)) kept.push(member);
      return `${member(number)} ${kept.indexOf(member)}`;
    }
    if (member instanceof WebAssembly.Global) {
      const before = member.value;
      const after = typeof before === "bigint" ? BigInt(number) : number;
      try { member.value = after } catch {}
      return `${before} ${member.value}`;
    }
    if (member instanceof WebAssembly.Table) {
      const found = member.get(number %% member.length);
      if (found !== null && !kept.includes(found)) kept.push(found);
      if (number %% 3 === 0) member.set((number + 1) %% member.length, found);
      if (number %% 17 === 0) member.grow(1);
      return `${kept.indexOf(found)} ${member.length}`;
    }
    const bytes = new Uint8Array(member.buffer);
    bytes[number %% 64] += 1;
    return `${bytes.subarray(0, 64)} ${bytes.length}`;
  } catch (error) {
    return `${error}`;
  }
}
"""


@pytest.mark.parametrize("seed", range(12))
def test_a_saved_context_does_what_its_twin_does(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 -- the same again
    modules = [Module(source, imported=False), Module(source, imported=True)]
    program = PROGRAM % tuple(list(module.bytes) for module in modules)
    twin, context = LocalContext(), LocalContext()
    try:
        for each in (twin, context):
            assert each.run(program).error is None
        for at in range(STEPS):
            which = source.randrange(2)
            member = source.choice(
                [*modules[which].functions, "memory", "table", "g0", "g1", "g2", "g3"]
            )
            code = f"step({which}, '{member}', {source.randrange(1000)})"
            assert context.value(code) == twin.value(code), (seed, at, code)
            if source.random() < 0.12:
                heap = context.context.heaps.save()
                context.context.close()
                context = LocalContext(snapshot=heap)
        state = "[seen, kept.map((f) => f.name)].join()"
        assert context.value(state) == twin.value(state)
    finally:
        twin.context.close()
        context.context.close()
