// A bridge by matrix-appservice-bridge, to a network with the one channel "tea",
// in which bob says again, loudly, what he hears. Carol can be invited.

import { Bridge, Logger } from "matrix-appservice-bridge";

Logger.configure({ console: "error" });

const ghost = "@bridge_bob:localhost";

const bridge = new Bridge({
    homeserverUrl: process.env.HOMESERVER,
    domain: "localhost",
    registration: process.env.REGISTRATION,
    disableStores: true,
    controller: {
        onLog() {},
        async onEvent(request) {
            const event = request.getData();
            if (event.type === "m.room.message") {
                await bridge.getIntent(ghost).sendText(event.room_id, `${event.content.body.toUpperCase()}!`);
            }
        },
        // What is not found here is answered with 200 and an error, as the
        // library has it.
        onAliasQuery(alias, localpart) {
            switch (localpart) {
                case "bridge_tea":
                    return { creationOpts: { room_alias_name: localpart, preset: "public_chat", name: "Tea" } };
                case "bridge_broken":
                    throw new Error("the network is down");
                default:
                    return null;
            }
        },
        async onAliasQueried(alias, roomId) {
            await bridge.getIntent(ghost).join(roomId);
        },
        onUserQuery(user) {
            return user.localpart === "bridge_carol" ? { name: "Carol of tea" } : null;
        },
    },
});

await bridge.run(Number(process.env.PORT), undefined, "127.0.0.1");
console.log("ready");
