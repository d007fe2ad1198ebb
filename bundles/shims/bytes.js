// Stands in for @exodus/bytes inside the URL bundle, so that its code is there only once.
export const { percentEncodeAfterEncoding } = require("vendor/encoding");
