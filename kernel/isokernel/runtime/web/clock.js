"use strict";
// The clock of performance.now and Event.timeStamp: milliseconds since it was first asked for.

let offset = -host.now();
let last = 0;

/**
 * The time, which never goes backwards: a context that was saved and is restored in another
 * process goes on from where it was, whatever the clock there says.
 *
 * @returns {number}
 */
function now() {
  let time = host.now() + offset;
  if (time < last) {
    offset += last - time;
    time = last;
  }
  last = time;
  return time;
}

/** Starts it anew: for a context that was made before anybody needed it. */
function restart() {
  offset = -host.now();
  last = 0;
}

/** Before the heap is saved: remembers where it stands. */
function suspend() {
  now();
}

/** Goes on from where it stood, whatever the clock of the process says. */
function resume() {
  offset = last - host.now();
}

module.exports = { now, restart, suspend, resume };
