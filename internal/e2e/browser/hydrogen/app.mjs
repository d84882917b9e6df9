// Hydrogen as it is published, put together without a bundler: its parts are
// modules for Node, which want a require that has them.

const parts = {
    "another-json": "another-json/another-json.js",
    "base64-arraybuffer": "base64-arraybuffer/lib/base64-arraybuffer.js",
    "dompurify": "dompurify/dist/purify.cjs.js",
    "off-color": "off-color/umd/index.js",
    "hydrogen-view-sdk": "hydrogen-view-sdk/lib-build/hydrogen.cjs.js",
};
const loaded = { "@matrix-org/olm/olm.js": {} }; // which Hydrogen loads by itself

for (const [name, path] of Object.entries(parts)) {
    const source = await (await fetch("node_modules/" + path)).text();
    const module = { exports: {} };
    new Function("module", "exports", "require", source)(module, module.exports, (wanted) => loaded[wanted]);
    loaded[name] = module.exports;
}

const { FeatureSet, Platform, RootViewModel, createNavigation, createRouter } = loaded["hydrogen-view-sdk"];
const olm = "/node_modules/@matrix-org/olm/";
const platform = new Platform({
    container: document.body,
    assetPaths: {
        downloadSandbox: "/node_modules/hydrogen-view-sdk/asset-build/assets/download-sandbox.html",
        worker: "/node_modules/hydrogen-view-sdk/asset-build/assets/main.js",
        olm: { wasm: olm + "olm.wasm", legacyBundle: olm + "olm_legacy.js", wasmBundle: olm + "olm.js" },
        serviceWorker: "sw.js",
    },
    configURL: "config.json",
});
const navigation = createNavigation();
platform.setNavigation(navigation);
await platform.init();
const urlRouter = createRouter({ navigation, history: platform.history });
urlRouter.attach();
const features = await FeatureSet.load(platform.settingsStorage);
const vm = new RootViewModel({ platform, urlRouter, navigation, features });
await vm.load();
platform.createAndMountRootView(vm);
