// What es-module-lexer has its WebAssembly decoded with; its isolate has no `atob` of its own.
export const atob = (text) => {
  let decoded = "";
  for (const byte of Uint8Array.fromBase64(text)) decoded += String.fromCharCode(byte);
  return decoded;
};
