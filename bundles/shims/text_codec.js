// Gives bundles TextEncoder and TextDecoder as modules: the globals may have been replaced by
// the user, or be the very thing that is being loaded.
export const { TextEncoder, TextDecoder } = require("vendor/encoding");
