// Answers from a worker of its own for each path.
const code = {
  compatibilityDate: "2026-01-01",
  mainModule: "main.js",
  modules: {
    "main.js": "export default { fetch() { return new Response(String(1 + 1)) } }",
  },
  globalOutbound: null,
};

export default {
  fetch(request, env) {
    const worker = env.LOADER.get(new URL(request.url).pathname, () => code);
    return worker.getEntrypoint().fetch(request);
  },
};
