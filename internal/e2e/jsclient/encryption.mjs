// Alice and bob talk where nobody else can read, and alice changes devices.

import { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent, canAcceptVerificationRequest } from "matrix-js-sdk/lib/crypto-api/index.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import { equal, login, membership, online, proof, register, tell, until } from "./people.mjs";

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
async function change(request, reached, what) {
    while (!reached()) {
        equal(request.cancellationCode ?? null, null, `the verification, before ${what}`);
        await new Promise((resolve) => request.once(VerificationRequestEvent.Change, resolve));
    }
}

// The library has only weak references to verifications that run.
const running = [];

// compare has somebody ask, another accept, and both look at emojis.
async function compare(asks, asked) {
    const coming = new Promise((resolve) => asked.once(CryptoEvent.VerificationRequestReceived, resolve));
    const mine = await asks();
    const theirs = await coming;
    equal(canAcceptVerificationRequest(theirs), true, "that the verification can be accepted");
    await theirs.accept();
    await change(mine, () => mine.phase === VerificationPhase.Ready, "it is accepted");
    const verifier = await mine.startVerification("m.sas.v1");
    await change(theirs, () => theirs.verifier, "it has started");
    running.push(mine, theirs, verifier, theirs.verifier);
    const sides = [verifier, theirs.verifier].map((side) => {
        const shown = new Promise((resolve) => {
            const sas = side.getShowSasCallbacks();
            sas ? resolve(sas) : side.once(VerifierEvent.ShowSas, resolve);
        });
        return { shown, verified: side.verify() };
    });
    const sas = await Promise.all(sides.map(({ shown }) => shown));
    equal(sas[0].sas.emoji.length, 7, "how many emojis there are");
    equal(sas[0].sas.emoji, sas[1].sas.emoji, "the emojis");
    await Promise.all(sas.map((side) => side.confirm()));
    await Promise.all(sides.map(({ verified }) => verified));
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
        await compare(() => phone.getCrypto().requestVerificationDM("@bob:localhost", room), bob);
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
        await compare(() => laptop.getCrypto().requestOwnUserVerification(), phone);
        await until(phone, signed(phone, laptop), "the laptop, signed");
        await until(bob, signed(bob, laptop), "alice's laptop, signed");
        await until(laptop, () => laptop.getCrypto().isCrossSigningReady(), "the keys to sign with");
        await until(laptop, () => laptop.getCrypto().getSessionBackupPrivateKey(), "the key to the backup");
        await bob.sendTextMessage(room, "to both of your devices");
        await reads(phone, "to both of your devices");
        await reads(laptop, "to both of your devices");
    },

    async "all keys are in the backup"() {
        // The library remembers what it has been told of the backup first.
        const saved = async () => (await phone.http.authedRequest("GET", "/room_keys/version")).count >= 2;
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
