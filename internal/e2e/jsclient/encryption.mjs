// Alice and bob talk where nobody else can read, and alice changes devices.

import { ClientEvent } from "matrix-js-sdk";
import { CryptoEvent, VerificationPhase, canAcceptVerificationRequest } from "matrix-js-sdk/lib/crypto-api/index.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import { equal, login, membership, online, proof, register, soon, tell, until } from "./people.mjs";

let phone, laptop, bob, room, recoveryKey;

if (parseInt(process.versions.node) < 20) {
    await tell({ "everything": () => "the library's cryptography wants Node 20" });
}

// secrets opens the secret storage, with what a person types.
const secrets = () => ({
    getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], decodeRecoveryKey(recoveryKey)],
});

const authenticated = (username) => (request) =>
    request(null).catch((error) => request({ ...proof(username), session: error.data.session }));

// reads waits for a message that was sent encrypted.
function reads(person, text) {
    const read = () =>
        person.getRoom(room).getLiveTimeline().getEvents().find((e) => e.isEncrypted() && e.getContent().body === text);
    return until(person, read, `the decrypted "${text}"`);
}

// signed is the question whether a person sees alice's signature of a device.
const signed = (person, device) => async () =>
    (await person.getCrypto().getDeviceVerificationStatus("@alice:localhost", device.getDeviceId()))?.signedByOwner;

// change waits until a verification is so far.
function change(person, request, reached, what) {
    return until(person, () => {
        equal(request.cancellationCode ?? null, null, `the verification, before ${what}`);
        return reached();
    }, what);
}

// The library has only weak references to verifications that run.
const running = [];

// told waits until a person's library has something of that type from another,
// and has done all that it does about it at once.
function told(person, type) {
    return new Promise((resolve) => {
        const lookAtDevice = (event) => event.getType() === type && setImmediate(resolve);
        const look = (event) => event.getSender() !== person.getUserId() && lookAtDevice(event);
        person.on(ClientEvent.Event, look);
        person.on(ClientEvent.ToDeviceEvent, lookAtDevice);
    });
}

// compare has somebody ask, another accept, and both look at emojis.
async function compare(asking, asks, asked) {
    const coming = new Promise((resolve) => asked.once(CryptoEvent.VerificationRequestReceived, resolve));
    const mine = await soon(asks(), "asking for a verification");
    const theirs = await soon(coming, "a verification to accept");
    running.push(mine, theirs);
    equal(canAcceptVerificationRequest(theirs), true, "that the verification can be accepted");
    await soon(theirs.accept(), "accepting");
    await change(asking, mine, () => mine.phase === VerificationPhase.Ready, "that it is accepted");
    const verifier = await soon(mine.startVerification("m.sas.v1"), "starting");
    await change(asked, theirs, () => theirs.verifier, "that it has started");
    const sides = [[asking, verifier], [asked, theirs.verifier]].map(([person, side]) => ({ person, side, verified: side.verify() }));
    running.push(...sides);
    const sas = await Promise.all(sides.map(({ person, side }) => until(person, () => side.getShowSasCallbacks(), "emojis")));
    equal(sas[0].sas.emoji.length, 7, "how many emojis there are");
    equal(sas[0].sas.emoji, sas[1].sas.emoji, "the emojis");
    // People do not tap at once. What a library sends for a confirmation and for
    // the other's goes out side by side, and is not understood the other way round.
    const proven = told(asked, "m.key.verification.mac");
    await soon(sas[0].confirm(), "confirming");
    await soon(proven, "the first proof");
    await soon(sas[1].confirm(), "confirming, too");
    await soon(Promise.all(sides.map(({ verified }) => verified)), "the end of the verification");
}

await tell({
    async "keys to sign with, secret storage, key backup"() {
        phone = await online(await register("alice"), { encryption: true, cryptoCallbacks: secrets() });
        bob = await online(await register("bob"), { encryption: true });
        for (const [person, name] of [[phone, "alice"], [bob, "bob"]]) {
            await person.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: authenticated(name) });
        }
        const crypto = phone.getCrypto();
        await crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => {
                const key = await crypto.createRecoveryKeyFromPassphrase();
                recoveryKey = key.encodedPrivateKey;
                return key;
            },
            setupNewKeyBackup: true,
        });
        await until(phone, () => crypto.isSecretStorageReady(), "her secret storage");
        await until(phone, () => crypto.isCrossSigningReady(), "her keys to sign with");
        await until(phone, () => crypto.getActiveSessionBackupVersion(), "her backup");
    },

    async "talk in an encrypted room"() {
        const made = await phone.createRoom({
            preset: "trusted_private_chat",
            invite: ["@bob:localhost"],
            initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
        });
        room = made.room_id;
        await membership(bob, room, "invite");
        await bob.joinRoom(room);
        await membership(bob, room, "join");
        await until(phone, () => phone.getRoom(room)?.getMember("@bob:localhost")?.membership === "join", "bob in the room");
        await phone.sendTextMessage(room, "between us");
        await reads(bob, "between us");
        await bob.sendTextMessage(room, "of course");
        await reads(phone, "of course");
    },

    async "verify a person in the room"() {
        await compare(phone, () => phone.getCrypto().requestVerificationDM("@bob:localhost", room), bob);
        for (const [person, other] of [[phone, "@bob:localhost"], [bob, "@alice:localhost"]]) {
            const verified = async () => (await person.getCrypto().getUserVerificationStatus(other)).isCrossSigningVerified();
            await until(person, verified, `${other}'s signature`);
        }
    },

    async "verify a second device, which gets the secrets"() {
        laptop = await online(await login("alice"), { encryption: true });
        // The library ignores requests of devices that it has not heard of.
        const known = async () => (await phone.getCrypto().getUserDeviceInfo(["@alice:localhost"])).get("@alice:localhost")?.has(laptop.getDeviceId());
        await until(phone, known, "that there is a laptop");
        await compare(laptop, () => laptop.getCrypto().requestOwnUserVerification(), phone);
        await until(phone, signed(phone, laptop), "the laptop, signed");
        await until(bob, signed(bob, laptop), "alice's laptop, signed");
        await until(laptop, () => laptop.getCrypto().isCrossSigningReady(), "the keys to sign with");
        await until(laptop, () => laptop.getCrypto().getSessionBackupPrivateKey(), "the key to the backup");
        await bob.sendTextMessage(room, "to both of your devices");
        await reads(phone, "to both of your devices");
        await reads(laptop, "to both of your devices");
    },

    async "all keys are in the backup"() {
        // The laptop saves what it has: bob's session, from the second message on. Two from the first on are the phone's.
        const saved = async () => {
            const { rooms } = await phone.http.authedRequest("GET", "/room_keys/keys", { version: "1" });
            return Object.values(rooms[room]?.sessions ?? {}).filter((key) => key.first_message_index === 0).length >= 2;
        };
        await until(phone, saved, "two sessions in the backup");
    },

    async "lose all devices, restore with the recovery key"() {
        await Promise.all([phone.logout(true), laptop.logout(true)]);
        const found = await online(await login("alice"), { encryption: true, cryptoCallbacks: secrets() });
        const crypto = found.getCrypto();
        await until(found, () => crypto.userHasCrossSigningKeys(), "her own keys");
        await crypto.bootstrapCrossSigning({});
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await crypto.checkKeyBackupAndEnable();
        const restored = await crypto.restoreKeyBackup();
        equal(restored.imported, restored.total, "the keys that were restored");
        await reads(found, "between us");
        await reads(found, "of course");
        for (const person of [found, bob]) {
            await until(person, signed(person, found), "the new device, signed");
        }
        await found.sendTextMessage(room, "here again");
        await reads(bob, "here again");
        await Promise.all([found.logout(true), bob.logout(true)]);
    },
});
