# workerd with a worker that loads others: one for each path, as long as it is kept.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .loader)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const loader :Workerd.Worker = (
  modules = [(name = "loader.js", esModule = embed "isolates.worker.js")],
  compatibilityDate = "2026-01-01",
  bindings = [(name = "LOADER", workerLoader = ())],
);
