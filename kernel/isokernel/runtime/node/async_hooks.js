"use strict";
// node:async_hooks: what is carried along with asynchronous code. V8 carries one value over
// awaits and promise reactions, and timers remember it; see owner.js.

const { runWith, stores } = require("owner");

const without = (list, storage) => list.filter((entry) => entry[0] !== storage);

/** A value that code sees which was started where it was set. */
class AsyncLocalStorage {
  #initial;

  constructor({ defaultValue, name = "" } = {}) {
    this.#initial = defaultValue;
    this.name = name;
  }

  static bind(callback) {
    const run = AsyncLocalStorage.snapshot();
    return function (...args) {
      return run((...given) => Reflect.apply(callback, this, given), ...args);
    };
  }

  static snapshot() {
    const list = stores.get();
    return (callback, ...args) => runWith(list, callback, args);
  }

  getStore() {
    const entry = stores.get().find(([storage]) => storage === this);
    return entry === undefined ? this.#initial : entry[1];
  }

  run(store, callback, ...args) {
    return runWith([...without(stores.get(), this), [this, store]], callback, args);
  }

  exit(callback, ...args) {
    return runWith([...without(stores.get(), this), [this, undefined]], callback, args);
  }

  enterWith(store) {
    stores.set([...without(stores.get(), this), [this, store]]);
  }

  disable() {
    stores.set(without(stores.get(), this));
  }
}

class AsyncResource {
  #list = stores.get();

  constructor(type) {
    this.type = type;
  }

  static bind(callback, type) {
    return new AsyncResource(type ?? "bound").bind(callback);
  }

  runInAsyncScope(callback, self, ...args) {
    return runWith(this.#list, (...given) => Reflect.apply(callback, self, given), args);
  }

  bind(callback, self) {
    const resource = this;
    return function (...args) {
      return resource.runInAsyncScope(callback, self ?? this, ...args);
    };
  }

  emitDestroy() {
    return this;
  }

  asyncId = () => 0;
  triggerAsyncId = () => 0;
}

const hook = { disable: () => hook, enable: () => hook };

module.exports = {
  AsyncLocalStorage,
  AsyncResource,
  asyncWrapProviders: {},
  createHook: () => hook,
  executionAsyncId: () => 0,
  executionAsyncResource: () => ({}),
  triggerAsyncId: () => 0,
};
