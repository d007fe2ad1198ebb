"use strict";
// node:os: what a program may want to know of a machine that it has none of.

const signals = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 };

module.exports = {
  EOL: "\n",
  arch: () => process.arch,
  availableParallelism: () => 1,
  constants: { errno: {}, priority: {}, signals },
  cpus: () => [],
  devNull: "/dev/null",
  endianness: () => "LE",
  freemem: () => 0,
  homedir: () => "/",
  hostname: () => "localhost",
  loadavg: () => [0, 0, 0],
  machine: () => "x86_64",
  networkInterfaces: () => ({}),
  platform: () => process.platform,
  release: () => "",
  tmpdir: () => "/", // the folder itself: it has no other place
  totalmem: () => 0,
  type: () => "Linux",
  uptime: () => process.uptime(),
  userInfo: () => ({ uid: -1, gid: -1, username: "", homedir: "/", shell: null }),
  version: () => "",
};
