// Alice and bob on one homeserver.

import * as sdk from "matrix-js-sdk";
import {
    baseUrl, bodies, client, equal, hears, login, membership, online, password, proof, refusal, register, tell, until,
} from "./people.mjs";

let alice, bob, room, tea;
const numbered = Array.from({ length: 40 }, (_, i) => `message ${i + 1}`);
const picture = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==", "base64");

await tell({
    async "register, and log in as somebody known"() {
        alice = await online(await register("alice"));
        equal(alice.getUserId(), "@alice:localhost", "alice's ID");
        await register("bob");
        bob = await online(await login("bob"), { limit: 100 }); // one answer has all that is said here, however long it takes
        const again = client().registerRequest({ username: "alice", password });
        equal((await refusal(again)).errcode, "M_USER_IN_USE", "a name that is taken");
        equal((await refusal(login("bob", "a guess"))).errcode, "M_FORBIDDEN", "a wrong password");
        equal((await bob.getDevices()).devices.length, 2, "bob's devices");
    },

    async "profile"() {
        await alice.setDisplayName("Alice in the café ☕");
        equal((await bob.getProfileInfo("@alice:localhost")).displayname, "Alice in the café ☕", "alice's name");
    },

    async "create a room, join it by its alias"() {
        const made = await alice.createRoom({ preset: "public_chat", room_alias_name: "tea", name: "Tea", topic: "No coffee" });
        room = made.room_id;
        await membership(alice, room, "join");
        await bob.joinRoom("#tea:localhost");
        tea = await membership(bob, room, "join");
        await until(alice, () => alice.getRoom(room).getMember("@bob:localhost")?.membership === "join", "bob in alice's room");
        equal(tea.name, "Tea", "the room's name");
        equal(tea.getCanonicalAlias(), "#tea:localhost", "the room's alias");
        equal((await refusal(bob.joinRoom("#coffee:localhost"))).errcode, "M_NOT_FOUND", "an alias of nothing");
    },

    async "talk"() {
        await alice.sendTextMessage(room, "hi!");
        const heard = await hears(bob, room, "hi!", "@alice:localhost");
        equal(heard.sender.name, "Alice in the café ☕", "who says it");
        await bob.sendEmoteMessage(room, "waves 👋");
        await hears(alice, room, "waves 👋", "@bob:localhost");
        // The sender's own message comes back by sync, and is not a second one.
        equal(bodies(alice.getRoom(room)), ["hi!", "waves 👋"], "alice's timeline");
        equal(bodies(tea), ["hi!", "waves 👋"], "bob's timeline");
    },

    async "many messages, in order"() {
        for (const text of numbered) {
            await alice.sendTextMessage(room, text);
        }
        await hears(bob, room, numbered.at(-1));
        equal(bodies(tea).slice(2), numbered, "what bob heard");
    },

    async "typing"() {
        const typing = () => alice.getRoom(room).getMember("@bob:localhost").typing;
        await bob.sendTyping(room, true, 20_000);
        await until(alice, typing, "bob typing");
        await bob.sendTyping(room, false, 0);
        await until(alice, () => !typing(), "bob not typing");
    },

    async "receipts and read markers"() {
        const last = await hears(bob, room, numbered.at(-1));
        await bob.sendReadReceipt(last);
        const seen = () => alice.getRoom(room).getEventReadUpTo("@bob:localhost", true) === last.getId();
        await until(alice, seen, "bob's receipt");
        await bob.setRoomReadMarkers(room, last.getId(), last);
        const marked = () => tea.getAccountData("m.fully_read")?.getContent().event_id === last.getId();
        await until(bob, marked, "bob's own marker");
    },

    async "edit and redact"() {
        const { event_id: id } = await alice.sendTextMessage(room, "a mistke");
        const heard = await hears(bob, room, "a mistke");
        await alice.sendMessage(room, {
            "msgtype": "m.text",
            "body": "* a mistake",
            "m.new_content": { msgtype: "m.text", body: "a mistake" },
            "m.relates_to": { rel_type: "m.replace", event_id: id },
        });
        await until(bob, () => heard.getContent().body === "a mistake", "the edit");
        await alice.redactEvent(room, id, undefined, { reason: "tidying" });
        await until(bob, () => heard.isRedacted(), "the redaction");
        equal(heard.getContent(), {}, "what is left");
        equal((await refusal(bob.redactEvent(room, (await hears(bob, room, "hi!")).getId()))).errcode, "M_FORBIDDEN", "bob redacting alice");
    },

    async "history, page by page"() {
        const second = await online(await login("bob"), { limit: 5 });
        const there = await membership(second, room, "join");
        while (there.getLiveTimeline().getPaginationToken(sdk.EventTimeline.BACKWARDS)) {
            await second.scrollback(there, 7);
        }
        equal(there.getLiveTimeline().getEvents()[0].getType(), "m.room.create", "the oldest event");
        equal(bodies(there).slice(2, 2 + numbered.length), numbered, "history");
        await second.logout(true);
    },

    async "invite, kick, tags"() {
        const { room_id: den } = await alice.createRoom({ preset: "private_chat", invite: ["@bob:localhost"] });
        await membership(bob, den, "invite");
        await bob.joinRoom(den);
        const inDen = await membership(bob, den, "join");
        await bob.setRoomTag(den, "m.favourite", { order: 0.5 });
        await until(bob, () => inDen.tags["m.favourite"]?.order === 0.5, "bob's tag");
        await alice.kick(den, "@bob:localhost", "enough");
        await membership(bob, den, "leave");
        equal((await refusal(bob.sendTextMessage(den, "hey!"))).errcode, "M_FORBIDDEN", "talking from outside");
    },

    async "media"() {
        const { content_uri: uri } = await alice.uploadContent(picture, { name: "dot.png", type: "image/png" });
        await alice.sendImageMessage(room, uri, { mimetype: "image/png", size: picture.length }, "dot.png");
        const heard = await hears(bob, room, "dot.png");
        const url = bob.mxcUrlToHttp(heard.getContent().url, undefined, undefined, undefined, false, true, true);
        equal(url.startsWith(`${baseUrl}/_matrix/client/v1/media/download/`), true, url);
        const answer = await fetch(url, { headers: { Authorization: `Bearer ${bob.getAccessToken()}` } });
        equal(Buffer.from(await answer.arrayBuffer()).equals(picture), true, "the same picture");
        equal((await fetch(url)).status, 401, "a picture for strangers");
    },

    async "end-to-end encryption"() {
        if (parseInt(process.versions.node) < 20) {
            return "the library's cryptography wants Node 20";
        }
        const a = await online(await login("alice"), { encryption: true });
        const b = await online(await login("bob"), { encryption: true });
        const { room_id: secret } = await a.createRoom({
            preset: "trusted_private_chat",
            invite: ["@bob:localhost"],
            initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
        });
        await membership(b, secret, "invite");
        await b.joinRoom(secret);
        await membership(b, secret, "join");
        const joined = () => a.getRoom(secret)?.getMember("@bob:localhost")?.membership === "join";
        await until(a, joined, "bob in the room");
        await a.sendTextMessage(secret, "between us");
        const read = () => b.getRoom(secret).getLiveTimeline().getEvents().find((e) => e.isEncrypted() && e.getContent().body === "between us");
        await until(b, read, "the decrypted message");
        await Promise.all([a.logout(true), b.logout(true)]);
    },

    async "log out"() {
        await bob.logout(true);
        equal((await refusal(bob.whoami())).errcode, "M_UNKNOWN_TOKEN", "bob's token");
        equal((await alice.whoami()).user_id, "@alice:localhost", "alice");
        await alice.setPassword(proof("alice"), "another horse", true);
        equal((await refusal(login("alice"))).errcode, "M_FORBIDDEN", "the old password");
    },
});
