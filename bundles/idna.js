// UTS #46: 215 KB of tables, needed by host names that are not plain ASCII only.
export { toASCII, toUnicode } from "tr46";
