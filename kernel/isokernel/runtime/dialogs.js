"use strict";
// Questions to the person at the front end. The cell stops until the answer is there, as in a
// browser; where nobody can be asked, the host throws an error that says so.

const { flush } = require("output");
const { toLowerCase, toText, trim } = require("intrinsics");

function ask(question, password) {
  flush();
  return host.input(question, password);
}

const spaced = (message) => (message === undefined ? "" : `${toText(message)} `);

/**
 * Asks for a line of text.
 * @param {string} [message]
 * @param {string} [preset] what an empty answer means
 * @returns {string | null} null when the answer is empty and nothing is preset
 */
function prompt(message, preset) {
  const hint = preset === undefined ? "" : `[${preset}] `;
  const answer = ask(spaced(message) + hint, false);
  if (answer !== "") return answer;
  return preset === undefined ? null : toText(preset);
}

/**
 * Asks a question that is answered by yes or no.
 * @param {string} [message]
 * @returns {boolean} true for y or yes
 */
function confirm(message = "Confirm") {
  const answer = toLowerCase(trim(ask(`${spaced(message)}[y/N] `, false)));
  return answer === "y" || answer === "yes";
}

/**
 * Shows a message and waits until it is acknowledged.
 * @param {string} [message]
 */
function alert(message = "Alert") {
  ask(`${spaced(message)}[Enter] `, false);
}

/**
 * Asks for a secret: what is typed is not shown.
 * @param {string} [message]
 * @returns {string}
 */
function getpass(message = "Password:") {
  return ask(spaced(message), true);
}

exports.globals = { prompt, confirm, alert };
exports.getpass = getpass;
