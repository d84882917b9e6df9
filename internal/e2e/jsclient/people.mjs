// What the conversations need: people, who are clients that sync by
// themselves, and ways to wait for what they shall see.

import { webcrypto } from "node:crypto";
import * as sdk from "matrix-js-sdk";

// Debian 12 has Node 18, which keeps this for modules.
globalThis.crypto ??= webcrypto;

// The library thinks aloud; the story is told by console.log.
for (const level of ["trace", "debug", "info", "warn", "error"]) {
    console[level] = () => {};
}

const patience = 60_000;

export const baseUrl = process.env.HOMESERVER;
export const password = "correct horse battery";

// client is one that has not logged in, or has, with what login answered.
export function client(session = {}, cryptoCallbacks = {}) {
    return sdk.createClient({
        baseUrl,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        timelineSupport: true,
        cryptoCallbacks,
    });
}

// register makes an account the way people do: the first request tells what
// the server wants, the second has it.
export async function register(username) {
    const stranger = client();
    const asked = await refusal(stranger.registerRequest({ username, password }));
    equal(asked.httpStatus, 401, "registering without authentication");
    const auth = { type: "m.login.dummy", session: asked.data.session };
    return stranger.registerRequest({ username, password, auth, initial_device_display_name: "Node" });
}

export function login(username, secret = password) {
    return client().loginRequest({ ...proof(username), password: secret });
}

// proof is how a person says who she is.
export function proof(username) {
    return { type: "m.login.password", identifier: { type: "m.id.user", user: username }, password };
}

// online starts the sync loop and waits until it has caught up. Much of what the
// library has to send for encryption it sends after an answer to /sync, whenever
// that comes: not later than a few seconds from now.
export async function online(session, options = {}) {
    const person = client(session, options.cryptoCallbacks);
    if (options.encryption) {
        await person.initRustCrypto({ useIndexedDB: false });
    }
    await person.startClient({ initialSyncLimit: options.limit ?? 20, lazyLoadMembers: true, pollTimeout: 3_000 });
    await until(person, () => person.isInitialSyncComplete(), "the first sync");
    return person;
}

// until waits for what a person shall see, and returns it. The condition may
// have to ask, too. It is looked at again and again: of some of what changes
// the library says nothing, of some before it is stored.
export async function until(person, condition, what) {
    const end = Date.now() + patience;
    for (;;) {
        const found = await condition();
        if (found) {
            return found;
        }
        if (Date.now() > end) {
            throw new Error(`${person.getUserId()} never sees ${what}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

// soon is what a promise brings, or an error that says what it did not bring.
export function soon(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: nothing for too long`)), patience);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// membership waits until a person's own membership of a room is so.
export function membership(person, roomId, wanted) {
    const room = () => person.getRoom(roomId);
    return until(person, () => room()?.getMyMembership() === wanted && room(), `${wanted} in ${roomId}`);
}

// hears waits for a message in a person's timeline.
export function hears(person, roomId, text, from) {
    const heard = () =>
        person
            .getRoom(roomId)
            ?.getLiveTimeline()
            .getEvents()
            .find((e) => e.getContent().body === text && (!from || e.getSender() === from));
    return until(person, heard, `"${text}"`);
}

// bodies are the texts of a timeline, oldest first.
export function bodies(room) {
    return room
        .getLiveTimeline()
        .getEvents()
        .filter((e) => e.getType() === "m.room.message")
        .map((e) => e.getContent().body);
}

// refusal is the error that a request has to end with.
export async function refusal(request) {
    try {
        await request;
    } catch (error) {
        return error;
    }
    throw new Error("a request went through that should not");
}

export function equal(got, want, what) {
    if (JSON.stringify(got) !== JSON.stringify(want)) {
        throw new Error(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
    }
}

// giveUp ends a step that waits for something which never comes.
function giveUp() {
    return new Promise((_, reject) => {
        setTimeout(() => reject(new Error("the step does not end")), 2 * patience).unref();
    });
}

// tell runs the steps of a story, in their order, and ends the program. A step
// that cannot be told here returns the reason.
export async function tell(steps) {
    for (const [name, step] of Object.entries(steps)) {
        let reason;
        try {
            reason = await Promise.race([step(), giveUp()]);
        } catch (error) {
            console.log(`FAIL  ${name}`);
            console.log(error.stack);
            process.exit(1);
        }
        console.log(reason ? `skip  ${name}: ${reason}` : `ok    ${name}`);
    }
    process.exit(0);
}
