"use strict";
// Small programs over what people use, the same in every engine, of one to some milliseconds
// each. Each gives a checksum, so that none is optimized away and all engines can be seen to do
// the same work. They keep to what Node.js 20 has.

/** Pseudo-random integers below 2 ** 31. */
function random(seed) {
  let last = seed;
  return () => (last = (last * 16807) % 2147483647);
}

const upTo = (n) => Array.from({ length: n }, (_, i) => i);
const numbers = upTo(20_000);
const shuffled = Array.from({ length: 20_000 }, random(1));
const words = Array.from({ length: 2_000 }, (_, i) => `word${(i * 7919) % 2003}`);
const people = upTo(2_000).map((i) => ({
  id: i, name: `name ${i}`, tags: ["a", "b", String(i % 7)], at: { x: i / 3, on: i % 2 === 0 },
}));
const peopleText = JSON.stringify(people);
const prose = "The quick brown fox jumps over the lazy dog; 12 dogs, 345 foxes. ".repeat(100);
const line = "2024-05-17T12:34:56.789Z INFO [worker-12] request /api/v1/items/4711?q=x took 123ms";

const programs = {
  // -- arrays
  "map, short"() {
    let sum = 0;
    for (let i = 0; i < 30_000; i++) sum += [1, 2, 3, i].map((x) => x + 1).length;
    return sum;
  },
  "map to fractions"() {
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += numbers.map((x) => x * 1.5)[500 + i];
    return sum;
  },
  "map to objects"() {
    let sum = 0;
    for (let i = 0; i < 5; i++) sum += numbers.map((x) => ({ x, y: x + i }))[500].y;
    return sum;
  },
  "map to strings"() {
    return numbers.map((x) => `n${x}`).join("").length;
  },
  filter() {
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += numbers.filter((x) => x % 3 === i % 3).length;
    return sum;
  },
  reduce() {
    let sum = 0;
    for (let i = 0; i < 20; i++) sum += numbers.reduce((a, b) => a + b, i);
    return sum;
  },
  "forEach, some, every, find"() {
    let sum = 0;
    numbers.forEach((x) => { sum += x; });
    for (let i = 0; i < 10; i++) {
      sum += numbers.some((x) => x === 9_000) + numbers.every((x) => x < 10_000);
      sum += numbers.find((x) => x > 5_000) + numbers.findIndex((x) => x > 5_000);
    }
    return sum;
  },
  "toSorted, short"() {
    let sum = 0;
    for (let i = 0; i < 10_000; i++) sum += [3, 1, 2].toSorted()[0] + [3, 1, 2].toReversed()[0];
    return sum;
  },
  "sort numbers"() {
    return shuffled.slice(0, 5_000).sort((a, b) => a - b)[500];
  },
  "sort objects"() {
    return people.toSorted((a, b) => (b.id * 7919) % 2003 - (a.id * 7919) % 2003)[500].id;
  },
  "sort strings"() {
    return words.toSorted()[500];
  },
  flat() {
    let sum = 0;
    for (let i = 0; i < 500; i++) sum += [[1, [2, 3]], [4, [5, [6]]], [i]].flat(2).length;
    return sum;
  },
  flatMap() {
    return numbers.slice(0, 4_000).flatMap((x) => [x, x + 1]).length;
  },
  "array spread"() {
    let sum = 0;
    for (let i = 0; i < 30_000; i++) sum += [...[1, 2, 3], ...[i, 5]].length;
    return sum + Math.max(...numbers);
  },
  "push, pop, shift, splice"() {
    const queue = [];
    let sum = 0;
    for (let i = 0; i < 50_000; i++) {
      queue.push(i, i + 1);
      sum += i % 2 ? queue.pop() : queue.shift();
      if (queue.length > 50) sum += queue.splice(10, 20).length;
    }
    return sum;
  },
  "slice, concat, indexOf, includes"() {
    let sum = 0;
    for (let i = 0; i < 300; i++) {
      const part = numbers.slice(i, i + 1_000).concat([i, i]);
      sum += part.indexOf(i + 900) + part.includes(i + 500) + part.lastIndexOf(i);
    }
    return sum;
  },
  "Array.from, fill, keys, entries"() {
    let sum = 0;
    for (const [i, x] of Array.from({ length: 20_000 }, (_, i) => i * 2).entries()) sum += i * x;
    for (const i of new Array(20_000).fill(1).keys()) sum += i;
    return sum;
  },
  // -- strings
  "string building"() {
    let text = "";
    for (let i = 0; i < 20_000; i++) text += `${i},`;
    return text.length;
  },
  "split and join"() {
    let sum = 0;
    for (let i = 0; i < 30; i++) sum += prose.split(" ").join("-").length;
    return sum;
  },
  "pad, trim, slice, case"() {
    let sum = 0;
    for (const word of words) {
      sum += word.padStart(9, "0").toUpperCase().slice(1).trim().length + ` ${word} `.trim().length;
    }
    return sum;
  },
  "characters"() {
    let hash = 0;
    for (let i = 0; i < prose.length; i++) hash = (hash * 31 + prose.charCodeAt(i)) | 0;
    for (let i = 0; i < 5; i++) for (const c of prose) hash = (hash * 31 + c.codePointAt(0)) | 0;
    return hash;
  },
  "replaceAll, indexOf, includes"() {
    let sum = 0;
    for (let i = 0; i < 30; i++) {
      sum += prose.replaceAll("fox", "cat").indexOf("345", i) + prose.includes("zebra");
    }
    return sum;
  },
  localeCompare() {
    return words.toSorted((a, b) => a.localeCompare(b))[500];
  },
  "tagged templates"() {
    const tag = (parts, ...values) => parts.raw.length + values.length + parts[0].length;
    let sum = 0;
    for (let i = 0; i < 100_000; i++) sum += tag`a${i}b${sum}c`;
    return sum;
  },
  // -- regular expressions
  "regex exec"() {
    const pattern = /^(\d{4})-(\d\d)-(\d\d)T([\d:.]+)Z (\w+) \[([\w-]+)\] .*?(\d+)ms$/;
    let sum = 0;
    for (let i = 0; i < 4_000; i++) sum += +pattern.exec(`${line.slice(0, -3)}${i % 10}ms`)[7];
    return sum;
  },
  "regex named groups"() {
    let sum = 0;
    for (let i = 0; i < 4_000; i++) sum += line.match(/took (?<ms>\d+)ms/).groups.ms.length;
    return sum;
  },
  "regex replace, matchAll"() {
    let sum = prose.replace(/\d+/g, (d) => d.length).length;
    for (const found of prose.matchAll(/(\w+) fox(es)?/g)) sum += found.index + found[1].length;
    return sum + prose.split(/[ ,;.]+/).length;
  },
  "regex test"() {
    let sum = 0;
    for (let i = 0; i < 20; i++) for (const word of words) sum += /^word1\d*$/.test(word);
    return sum;
  },
  // -- JSON and objects
  "JSON.parse"() {
    return JSON.parse(peopleText).length;
  },
  "JSON.stringify"() {
    return JSON.stringify(people).length + JSON.stringify(people.slice(0, 100), null, 2).length;
  },
  "deep objects"() {
    let deep = null;
    for (let i = 0; i < 200; i++) deep = { i, deep, list: [i] };
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += JSON.stringify(JSON.parse(JSON.stringify(deep))).length;
    return sum;
  },
  structuredClone() {
    const made = structuredClone({ people: people.slice(0, 300), at: new Date(0), map: new Map([[1, 2]]) });
    return made.people.length + made.map.get(1);
  },
  "Object.entries, fromEntries, assign"() {
    let sum = 0;
    for (const person of people) {
      const made = Object.fromEntries(Object.entries(person).map(([k, v]) => [`${k}_`, v]));
      sum += Object.keys(Object.assign({}, made, { more: 1 })).length;
    }
    return sum;
  },
  "object spread"() {
    let sum = 0;
    for (let i = 0; i < 20_000; i++) {
      const made = { a: 1, ...{ b: i, c: 3 }, d: 4 };
      const { a, ...rest } = made;
      sum += rest.b + a;
    }
    return sum;
  },
  destructuring() {
    let sum = 0;
    for (let i = 0; i < 100_000; i++) {
      const [a, b = 2, ...others] = [i, undefined, 3, 4];
      const { x, y: { z = 5 } = {} } = { x: a };
      sum += a + b + others.length + x + z;
    }
    return sum;
  },
  "optional chaining"() {
    let sum = 0;
    for (let i = 0; i < 50; i++) for (const person of people) sum += person?.at?.y?.z ?? person.at?.x ?? 1;
    return Math.round(sum);
  },
  "objects as tables"() {
    const counts = {};
    for (const word of words) for (const end of "ab") counts[word + end] = (counts[word + end] ?? 0) + 1;
    let sum = 0;
    for (const key in counts) sum += counts[key];
    for (const key of Object.keys(counts)) if (key.length > 7) delete counts[key];
    return sum + Object.keys(counts).length;
  },
  // -- collections
  Map() {
    const map = new Map();
    for (let i = 0; i < 10_000; i++) map.set(`key ${i % 2_500}`, i);
    let sum = map.size;
    for (const [key, value] of map) sum += key.length + value;
    return sum;
  },
  "Map of numbers"() {
    const map = new Map();
    for (let i = 0; i < 20_000; i++) map.set(i & 4095, (map.get(i & 4095) ?? 0) + 1);
    return map.size + map.get(7);
  },
  Set() {
    const set = new Set(shuffled);
    let sum = 0;
    for (const x of numbers) sum += set.has(x);
    return sum + [...set].filter((x) => x % 2).length;
  },
  "WeakMap, Symbol"() {
    const map = new WeakMap();
    const key = Symbol("key");
    let sum = 0;
    for (const person of people) map.set(person, person.id);
    for (const person of people) sum += map.get(person) + ({ [key]: person.id })[key];
    return sum;
  },
  // -- classes, functions, control
  classes() {
    class Shape { constructor(size) { this.size = size; } area() { return 0; } }
    class Square extends Shape { area() { return this.size ** 2; } }
    class Circle extends Shape { #pi = 3; static made = 0; area() { return this.#pi * this.size ** 2; } }
    let sum = 0;
    for (let i = 0; i < 60_000; i++) sum += (i % 3 ? new Square(i % 10) : new Circle(i % 10)).area();
    return sum;
  },
  "getters, setters, private methods"() {
    class Counter {
      #n = 0;
      get n() { return this.#n; }
      set n(value) { this.#n = this.#clip(value); }
      #clip(value) { return value & 0xffff; }
    }
    const counter = new Counter();
    for (let i = 0; i < 30_000; i++) counter.n += 3;
    return counter.n;
  },
  closures() {
    const counter = () => { let n = 0; return { up: () => ++n, get: () => n }; };
    let sum = 0;
    for (let i = 0; i < 30_000; i++) { const c = counter(); c.up(); c.up(); sum += c.get(); }
    return sum;
  },
  recursion() {
    const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
    return fib(24);
  },
  "rest, spread, apply, bind"() {
    const add = (...all) => all.length + all[0];
    const bound = function (a, b) { return this.k + a + b; }.bind({ k: 1 }, 2);
    let sum = 0;
    for (let i = 0; i < 300_000; i++) sum += add(...[i, 2, 3]) + add.apply(null, [i, 1]) + bound(i);
    return sum;
  },
  generators() {
    function* upwards(n) { for (let i = 0; i < n; i++) yield i; }
    let sum = 0;
    for (const n of upwards(60_000)) sum += n;
    return sum;
  },
  iterators() {
    const range = { *[Symbol.iterator]() { yield* [1, 2, 3]; } };
    let sum = 0;
    for (let i = 0; i < 5_000; i++) { const [a, b] = range; sum += a + b + [...range].length; }
    return sum;
  },
  "caught throw"() {
    let sum = 0;
    for (let i = 0; i < 10_000; i++) { try { throw i; } catch (caught) { sum += caught; } }
    return sum;
  },
  "caught errors"() {
    const check = (i) => { if (i % 2) throw new TypeError(`odd ${i}`); return i; };
    let sum = 0;
    for (let i = 0; i < 2_000; i++) {
      try { sum += check(i); } catch (caught) { sum += caught.message.length; } finally { sum++; }
    }
    return sum;
  },
  "errors with stacks"() {
    let sum = 0;
    for (let i = 0; i < 200; i++) {
      try { null.x; } catch (caught) { sum += caught.stack.startsWith("TypeError"); }
    }
    return sum;
  },
  Proxy() {
    const proxy = new Proxy({ a: 1 }, { get: (target, key) => target[key] + 1, has: () => true });
    let sum = 0;
    for (let i = 0; i < 20_000; i++) sum += proxy.a + ("b" in proxy);
    return sum + Reflect.ownKeys(proxy).length;
  },
  "new Function"() {
    let sum = 0;
    for (let i = 0; i < 300; i++) sum += new Function("a", `return a + ${i}`)(i);
    return sum;
  },
  // -- promises
  async "async and await"() {
    const one = async (i) => i + 1;
    let sum = 0;
    for (let i = 0; i < 10_000; i++) sum += await one(i);
    return sum;
  },
  async promises() {
    let last = Promise.resolve(0);
    for (let i = 0; i < 5_000; i++) last = last.then((x) => x + 1);
    const all = await Promise.all(people.map((person) => Promise.resolve(person.id)));
    return (await last) + all.length;
  },
  async "rejections caught"() {
    const odd = async (i) => { if (i % 2) throw i; return 0; };
    let sum = 0;
    for (let i = 0; i < 4_000; i++) { try { sum += await odd(i); } catch (caught) { sum += caught; } }
    return sum;
  },
  async "async generators"() {
    async function* upwards(n) { for (let i = 0; i < n; i++) yield i; }
    let sum = 0;
    for await (const n of upwards(4_000)) sum += n;
    return sum;
  },
  // -- numbers, bytes, dates
  "typed arrays"() {
    const a = new Float64Array(10_000);
    const b = Uint32Array.from(a, (_, i) => (i * 2654435761) >>> 0);
    let sum = 0;
    for (let round = 0; round < 10; round++) {
      for (let i = 1; i < a.length; i++) { a[i] = b[i] / 4294967296; sum += a[i] * a[i - 1] - (b[i] & 1); }
    }
    return Math.round(sum + a.map((x) => x * 2).subarray(10).reduce((x, y) => x + y, 0));
  },
  "bytes and text"() {
    let sum = 0;
    for (let i = 0; i < 30; i++) sum += new TextEncoder().encode(prose + i).length;
    const bytes = new TextEncoder().encode(prose);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i + 4 < bytes.length; i += 4) sum += view.getUint32(i, true) % 7;
    return sum + new TextDecoder().decode(bytes).length + btoa(atob(btoa(prose))).length;
  },
  Math() {
    let sum = 0;
    for (let i = 1; i < 60_000; i++) sum += Math.sqrt(i) + Math.floor(i / 7) + Math.hypot(i, 3) + Math.abs(-i);
    return Math.round(sum);
  },
  matrices() {
    const n = 60;
    const make = () => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => i * j * 0.5));
    const a = make(), b = make(), c = make();
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
    return c[7][9];
  },
  BigInt() {
    let a = 1n, b = 1n;
    for (let i = 0; i < 4_000; i++) [a, b] = [b, a + b];
    return String(a).length + Number(BigInt.asUintN(32, b));
  },
  "numbers and text"() {
    let sum = 0;
    for (let i = 0; i < 10_000; i++) {
      sum += parseInt(`${i}px`, 10) + Number(`${i}.5`) + (i / 3).toFixed(2).length + i.toString(16).length;
    }
    return sum;
  },
  Date() {
    let sum = 0;
    for (let i = 0; i < 2_000; i++) {
      const date = new Date(Date.UTC(2024, i % 12, 1 + (i % 28), i % 24));
      sum += date.toISOString().length + date.getUTCDay() + Date.parse("2024-05-17T12:34:56Z") % 7;
    }
    return sum;
  },
  "Intl"() {
    const format = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
    const day = new Intl.DateTimeFormat("en-US", { timeZone: "UTC" });
    let sum = 0;
    for (let i = 0; i < 500; i++) sum += format.format(i * 1234.567).length + day.format(i * 864e5).length;
    return sum + (1234.5).toLocaleString("en-US").length;
  },
};

/** Milliseconds of a number of runs of each program, after as many to warm up. */
async function measure(runs) {
  const found = {};
  for (const [name, program] of Object.entries(programs)) {
    for (let i = 0; i < runs; i++) await program();
    const times = [];
    let checksum;
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      const value = program();
      checksum = value instanceof Promise ? await value : value;
      times.push(performance.now() - start);
    }
    found[name] = { times, checksum };
  }
  return JSON.stringify(found);
}
