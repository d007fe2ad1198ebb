"""Records what Node.js prints for the table in `node_texts.json`.

Run it with the newest Node.js at hand after adding rows or when the inspection package
is updated: `python record_node.py /path/to/node`. A row is {"code", "node"}, and where
isokernel prints another text on purpose, {"ours", "why"} as well. New rows need "code"
only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).with_name("node_texts.json")

PROGRAM = """
const { inspect, format } = require("node:util");
const table = JSON.parse(require("node:fs").readFileSync(0));
for (const row of table.inspect) row.node = inspect((0, eval)(row.code));
for (const row of table.format) row.node = format(...(0, eval)(`[${row.code}]`));
table.version = process.version;
console.log(JSON.stringify(table));
"""


def main() -> None:
    """Rewrite the table with the texts of the given Node.js."""
    answer = subprocess.run(
        [sys.argv[1] if len(sys.argv) > 1 else "node", "-e", PROGRAM],
        input=TABLE.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=True,
    )
    table = json.loads(answer.stdout)
    rows = json.dumps(table, indent=1, ensure_ascii=False)
    TABLE.write_text(rows + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
