// Node.js's util.inspect, the formatting of console.log and the width of text on a screen.
module.exports = require("node-inspect-extracted");
