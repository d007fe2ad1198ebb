// isolated-vm, asked by lines on its standard input: {"do": "new" | "snapshot" | "again" |
// "keep", "times": N}; answers with the milliseconds of each.
const ivm = require("isolated-vm");
const snapshot = ivm.Isolate.createSnapshot([{ code: "globalThis.state = { own: 1 }" }]);
const live = new ivm.Isolate().createContextSync();
const kept = [];

function begin(options, code) {
  const isolate = new ivm.Isolate({ memoryLimit: 128, ...options });
  if (isolate.createContextSync().evalSync(code) !== 2) throw new Error("wrong");
  return isolate;
}

const jobs = {
  new: () => begin({}, "1+1").dispose(),
  snapshot: () => begin({ snapshot }, "state.own + 1").dispose(),
  again: () => live.evalSync("1+1"),
  keep: () => kept.push(begin({}, "1+1")),
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { do: job, times } = JSON.parse(line);
  const found = [];
  for (let i = 0; i < times; i++) {
    const start = process.hrtime.bigint();
    jobs[job]();
    found.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  console.log(JSON.stringify(found));
});
