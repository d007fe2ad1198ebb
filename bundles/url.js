// The same as whatwg-url's own index.js without its validator and parser exports. The object
// stands in for a realm: what the generated classes throw and return is made from it.
import * as interfaces from "whatwg-url/webidl2js-wrapper.js";

const realm = { Array, Object, Promise, String, TypeError };
interfaces.URL.install(realm, ["Window"]);
interfaces.URLSearchParams.install(realm, ["Window"]);

export const { URL, URLSearchParams } = realm;
