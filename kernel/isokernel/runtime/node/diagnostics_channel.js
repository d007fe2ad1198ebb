"use strict";
// node:diagnostics_channel.

class Channel {
  #subscribers = [];

  constructor(name) {
    this.name = name;
  }

  get hasSubscribers() {
    return this.#subscribers.length > 0;
  }

  subscribe(subscriber) {
    this.#subscribers = [...this.#subscribers, subscriber];
  }

  unsubscribe(subscriber) {
    const before = this.#subscribers;
    this.#subscribers = before.filter((other) => other !== subscriber);
    return this.#subscribers.length < before.length;
  }

  publish(message) {
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(message, this.name);
      } catch (error) {
        host.reportError(error);
      }
    }
  }

  runStores(context, run, self, ...args) {
    this.publish(context);
    return Reflect.apply(run, self, args);
  }

  bindStore() {}

  unbindStore() {
    return false;
  }
}

const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, new Channel(name));
  return channels.get(name);
}

const PARTS = ["start", "end", "asyncStart", "asyncEnd", "error"];

class TracingChannel {
  constructor(name) {
    for (const part of PARTS) this[part] = channel(`tracing:${name}:${part}`);
  }

  get hasSubscribers() {
    return PARTS.some((part) => this[part].hasSubscribers);
  }

  subscribe(handlers) {
    for (const part of PARTS) if (handlers[part]) this[part].subscribe(handlers[part]);
  }

  unsubscribe(handlers) {
    for (const part of PARTS) if (handlers[part]) this[part].unsubscribe(handlers[part]);
  }

  traceSync(run, context = {}, self = undefined, ...args) {
    this.start.publish(context);
    try {
      context.result = Reflect.apply(run, self, args);
      return context.result;
    } catch (error) {
      context.error = error;
      this.error.publish(context);
      throw error;
    } finally {
      this.end.publish(context);
    }
  }

  async tracePromise(run, context = {}, self = undefined, ...args) {
    this.start.publish(context);
    try {
      const promise = Reflect.apply(run, self, args);
      this.end.publish(context);
      context.result = await promise;
      return context.result;
    } catch (error) {
      context.error = error;
      this.error.publish(context);
      throw error;
    } finally {
      this.asyncStart.publish(context);
      this.asyncEnd.publish(context);
    }
  }
}

module.exports = {
  Channel,
  channel,
  hasSubscribers: (name) => channels.get(name)?.hasSubscribers ?? false,
  subscribe: (name, subscriber) => channel(name).subscribe(subscriber),
  tracingChannel: (name) => new TracingChannel(name),
  unsubscribe: (name, subscriber) => channel(name).unsubscribe(subscriber),
};
