// Alice logs in by OAuth, on pages of the server.

import { completeAuthorizationCodeGrant, generateOidcAuthorizationUrl, OidcTokenRefresher, registerOidcClient } from "matrix-js-sdk";
import { client, equal, online, password, register, tell } from "./people.mjs";

const redirectUri = "https://app.example/callback";
let metadata, clientId, granted, deviceId, alice;

// The library keeps what it has asked for in the window.
const kept = new Map();
const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
    key: (i) => [...kept.keys()][i],
    get length() { return kept.size; },
};
globalThis.localStorage = storage;
globalThis.window = { location: { origin: "https://app.example" }, sessionStorage: storage };

// A browser follows redirects, keeps a cookie, and sends forms on.
let cookie = "", page = "";

async function load(address, form) {
    for (;;) {
        const response = await fetch(address, {
            method: form ? "POST" : "GET", body: form && new URLSearchParams(form), redirect: "manual", headers: { cookie },
        });
        cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie;
        page = await response.text();
        const next = response.headers.get("location");
        if (!next || next.startsWith(redirectUri)) {
            return next;
        }
        [address, form] = [new URL(next, address).href, undefined];
    }
}

const plain = (text) => text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code)).replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

async function send(values) {
    const action = plain(page.match(/<form method="post" action="([^"]*)"/)[1]);
    const hidden = [...page.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name, plain(value)]);
    return load(new URL(action, metadata.issuer).href, { ...Object.fromEntries(hidden), ...values });
}

await tell({
    async "find the server's endpoints"() {
        await register("alice");
        metadata = await client().getAuthMetadata();
        equal(metadata.signingKeys.length, 1, "keys");
    },

    async "register the application"() {
        clientId = await registerOidcClient(metadata, {
            clientName: "Story", clientUri: "https://app.example/", applicationType: "web", redirectUris: [redirectUri],
            contacts: ["root@app.example"], tosUri: "https://app.example/tos", policyUri: "https://app.example/policy",
        });
    },

    async "log in"() {
        const address = await generateOidcAuthorizationUrl({
            metadata, redirectUri, clientId, homeserverUrl: metadata.issuer, nonce: "once",
        });
        equal(await load(address), null, "the first page");
        equal(await send({ user: "alice", password }), null, "signing in");
        const back = new URL(await send({ answer: "allow" }));
        granted = await completeAuthorizationCodeGrant(back.searchParams.get("code"), back.searchParams.get("state"));
        equal(granted.idTokenClaims.sub, "@alice:localhost", "who has logged in");
        deviceId = granted.tokenResponse.scope.match(/device:(\S+)/)[1];
    },

    async "sync"() {
        alice = await online({ user_id: "@alice:localhost", device_id: deviceId, access_token: granted.tokenResponse.access_token });
        equal(await alice.whoami(), { user_id: "@alice:localhost", device_id: deviceId, is_guest: false }, "whoami");
        alice.stopClient();
    },

    async "refresh, and log out"() {
        const { issuer } = granted.oidcClientSettings;
        const refresher = new OidcTokenRefresher(issuer, clientId, redirectUri, deviceId, granted.idTokenClaims);
        await refresher.oidcClientReady;
        const fresh = await refresher.doRefreshAccessToken(granted.tokenResponse.refresh_token);
        const again = client({ user_id: "@alice:localhost", device_id: deviceId, access_token: fresh.accessToken });
        equal((await again.whoami()).device_id, deviceId, "the device");
        await fetch(metadata.revocation_endpoint, { method: "POST", body: new URLSearchParams({ token: fresh.accessToken, client_id: clientId }) });
        equal((await again.whoami().catch((problem) => problem)).errcode, "M_UNKNOWN_TOKEN", "after logging out");
    },
});
