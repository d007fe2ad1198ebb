export { parseHTML } from "linkedom";
