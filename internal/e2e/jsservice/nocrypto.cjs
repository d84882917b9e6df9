// Both libraries load a native part for encryption when they are loaded, which
// their installation would fetch by a script. Scripts are switched off, and
// nothing here encrypts.
const Module = require("node:module");

const load = Module._load;
Module._load = (name, ...rest) =>
    name === "@matrix-org/matrix-sdk-crypto-nodejs" ? { StoreType: {} } : load(name, ...rest);
