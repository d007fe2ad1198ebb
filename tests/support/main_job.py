"""The job that people come for: a file, packages, an address, a figure; saved, gone on.

It is done by a notebook and by agents, under a policy that allows just that.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.support.packages import CACHE, fetch_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES: Final = ("npm:d3@7", "npm:arquero@7", "npm:@observablehq/plot@0.6")
EXAMPLES: Final = Path(__file__).parents[2] / "notebooks"
CSV: Final = EXAMPLES / "penguins.csv"
LOAD: Final = """
import * as d3 from "npm:d3@7";
import * as aq from "npm:arquero@7";
import * as Plot from "npm:@observablehq/plot@0.6";
const penguins = await d3.csv("penguins.csv", d3.autoType);
const islands = await d3.json("ADDRESS/islands.json");
"""
COUNT: Final = """
const table = aq.from(penguins).filter(aq.escape((row) => row.body_mass_g > 0))
  .join(aq.from(islands), "island").groupby("island", "latitude")
  .rollup({ n: aq.op.count(), mass: aq.op.mean("body_mass_g") })
  .orderby("latitude").objects();
const told = table.map(({ island, n, mass }) => `${island} ${n} ${Math.round(mass)}`)
  .join();
"""
FIGURE: Final = """
const figure = Plot.plot({
  document: Jupyter.document, width: 480, height: 240, marginLeft: 60,
  x: { label: "flipper length (mm)" }, y: { label: "body mass (g)" },
  color: { legend: true },
  marks: [
    Plot.frame(),
    Plot.dot(penguins.filter((row) => row.body_mass_g > 0),
      { x: "flipper_length_mm", y: "body_mass_g", stroke: "species", r: 2 }),
  ],
});
"""
SEEN: Final = "`${told}; ${figure.querySelectorAll('circle').length} dots`"
TOLD: Final = "Biscoe 167 4716,Torgersen 51 3706,Dream 124 3713; 342 dots"
GONE_ON: Final = """
const { document } = Jupyter;
const later = Plot.dot(table, { x: "n", y: "mass" }).plot({ document });
const sum = d3.sum(table, (row) => row.n);
"""
LATER: Final = (
    "`${told}; ${figure.querySelectorAll('circle').length} dots; "
    "${sum} in ${later.querySelectorAll('circle').length}`"
)
TOLD_LATER: Final = f"{TOLD}; 342 in 3"


class Place(NamedTuple):
    """Where the address is that JSON comes from.

    Attributes:
        host: Its host and port, as a policy names it.
        asked: The paths that were asked for.
    """

    host: str
    asked: list[str]

    @property
    def load(self) -> str:
        return LOAD.replace("ADDRESS", f"http://{self.host}")


@contextlib.contextmanager
def open_place(folder: Path) -> Iterator[Place]:
    """Serve the JSON on loopback; the packages are there without a registry."""
    fetch_packages("main-job", "add", *PACKAGES)
    shutil.copy(EXAMPLES / "islands.json", folder)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            del code, size
            asked.append(self.path)

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    # By default it looks every half second whether it shall end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Place(f"127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def flags(place: Place, folder: Path) -> tuple[str, ...]:
    """The server's flags that allow the job, and nothing else."""
    names = ",".join(name.rpartition("@")[0] for name in PACKAGES)
    return (
        *("--modules", names, "--net", place.host, "--files", "on"),
        *("--package-cache-dir", str(CACHE), "--package-offline"),
        *("--data-dir", str(folder)),
    )


def environment(place: Place, heaps: Path) -> dict[str, str]:
    """The same for notebooks."""
    return {
        "ISOKERNEL_MODULES": ",".join(name.rpartition("@")[0] for name in PACKAGES),
        "ISOKERNEL_NET": place.host,
        "ISOKERNEL_PACKAGE_CACHE_DIR": str(CACHE),
        "ISOKERNEL_PACKAGE_OFFLINE": "on",
        "ISOKERNEL_HEAPS_DIR": str(heaps),
        "ISOKERNEL_HISTORY": "off",
    }
