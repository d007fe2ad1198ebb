export { URLPattern } from "../node_modules/urlpattern-polyfill/dist/urlpattern.js";
