"use strict";
// Small programs, the same in every engine. Each gives a checksum, so that none is optimized
// away and all engines can be seen to do the same work.

const programs = {
  fib() {
    const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
    return fib(30);
  },

  "typed arrays"() {
    const size = 400_000;
    const a = new Float64Array(size);
    const b = new Uint32Array(size);
    for (let i = 0; i < size; i++) {
      b[i] = (i * 2654435761) >>> 0;
      a[i] = b[i] / 4294967296;
    }
    let sum = 0;
    for (let round = 0; round < 10; round++) {
      for (let i = 1; i < size; i++) sum += a[i] * a[i - 1] - (b[i] & 1);
    }
    return Math.round(sum);
  },

  strings() {
    let text = "";
    for (let i = 0; i < 60_000; i++) text += `${i},`;
    let hash = 0;
    for (const part of text.split(",")) {
      const turned = part.padStart(6, "0").toUpperCase().slice(1) + part;
      for (let i = 0; i < turned.length; i++) hash = (hash * 31 + turned.charCodeAt(i)) | 0;
    }
    return hash + text.replaceAll("1", "one").indexOf("59999");
  },

  JSON() {
    const rows = Array.from({ length: 8_000 }, (_, i) => ({
      id: i, name: `row ${i}`, tags: ["a", "b", String(i % 7)], nested: { value: i / 3, on: i % 2 === 0 },
    }));
    let total = 0;
    for (let round = 0; round < 3; round++) {
      const again = JSON.parse(JSON.stringify(rows));
      total += again.length + again[again.length - 1].nested.value;
    }
    return Math.round(total);
  },

  sort() {
    let seed = 1;
    const random = () => (seed = (seed * 16807) % 2147483647);
    const numbers = Array.from({ length: 100_000 }, random);
    numbers.sort((a, b) => a - b);
    const objects = Array.from({ length: 40_000 }, () => ({ key: random() }));
    objects.sort((a, b) => a.key - b.key);
    return numbers[500] + objects[500].key;
  },

  Map() {
    const map = new Map();
    for (let i = 0; i < 200_000; i++) map.set(`key ${i % 50_000}`, i);
    let sum = 0;
    for (let i = 0; i < 200_000; i++) sum += map.get(`key ${i % 50_000}`);
    return sum + map.size;
  },

  "regular expressions"() {
    const line = "2024-05-17T12:34:56.789Z INFO [worker-12] request /api/v1/items/4711?q=x took 123ms";
    const pattern = /^(\d{4})-(\d\d)-(\d\d)T([\d:.]+)Z (\w+) \[([\w-]+)\] .*?(\d+)ms$/;
    let sum = 0;
    for (let i = 0; i < 60_000; i++) {
      const found = pattern.exec(`${line.slice(0, -3)}${i % 10}ms`);
      sum += +found[7] + found[5].length;
    }
    return sum + line.repeat(200).replace(/\d+/g, (d) => d.length).length;
  },

  classes() {
    class Shape { constructor(size) { this.size = size; } area() { return 0; } }
    class Square extends Shape { area() { return this.size ** 2; } }
    class Circle extends Shape { #pi = 3; area() { return this.#pi * this.size ** 2; } }
    let sum = 0;
    for (let i = 0; i < 1_500_000; i++) {
      const shape = i % 3 ? new Square(i % 10) : new Circle(i % 10);
      sum += shape.area();
    }
    return sum;
  },

  "generators and closures"() {
    function* numbers(n) { for (let i = 0; i < n; i++) yield i; }
    let sum = 0;
    for (const n of numbers(500_000)) sum += [n, 1].map((x) => x + 1).reduce((a, b) => a + b, 0);
    return sum;
  },
};

/** Milliseconds of a number of runs of each program, after some to warm up. */
function measure(runs) {
  const found = {};
  for (const [name, program] of Object.entries(programs)) {
    for (let i = 0; i < 3; i++) program();
    const times = [];
    let checksum;
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      checksum = program();
      times.push(performance.now() - start);
    }
    found[name] = { times, checksum };
  }
  return JSON.stringify(found);
}
