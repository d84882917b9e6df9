// Alice on Matrix and bob, whom Go plays, on IRC. They wait for each other's
// words and for nothing else.

import { equal, hears, membership, online, register, tell, until } from "./people.mjs";

const bob = "@irc_local_bob:localhost";
const robert = "@irc_local_robert:localhost";
let alice, room, channel;

const member = (user) => channel.getMember(user)?.membership;

await tell({
    async "join a channel by its alias"() {
        alice = await online(await register("alice"));
        room = (await alice.joinRoom("#irc_local_#trestle:localhost")).roomId;
        channel = await membership(alice, room, "join");
        equal(channel.getCanonicalAlias(), "#irc_local_#trestle:localhost", "the room's alias");
        equal(channel.name, "#trestle", "the room's name");
        const topic = () => channel.currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
        await until(alice, () => topic() === "Bridges and rivers", "the topic");
        await until(alice, () => member(bob) === "join", "bob");
        equal(channel.getMember(bob).rawDisplayName, "bob", "bob's name");
    },

    async "say something, hear the answer"() {
        await alice.sendTextMessage(room, "hi!");
        const heard = await hears(alice, room, "hello alice, ça va? ☕", bob);
        equal(heard.getContent().msgtype, "m.text", "how bob says it");
    },

    async "emotes, notices and formatting, both ways"() {
        await alice.sendEmoteMessage(room, "waves");
        equal((await hears(alice, room, "waves back", bob)).getContent().msgtype, "m.emote", "bob's emote");
        await alice.sendHtmlMessage(room, "so **bold**", "so <strong>bold</strong>");
        const heard = await hears(alice, room, "bolder still", bob);
        equal(heard.getContent().msgtype, "m.notice", "bob's notice");
        equal(heard.getContent().formatted_body, "<strong>bolder</strong> still", "bob's HTML");
    },

    async "bob gets another nick and parts"() {
        await alice.sendTextMessage(room, "who are you?");
        await until(alice, () => member(bob) === "leave" && member(robert) === "join", "robert");
        await hears(alice, room, "I am robert", robert);
        await alice.sendTextMessage(room, "bye");
        await until(alice, () => member(robert) === "leave", "robert's part");
    },

    async "leave"() {
        await alice.leave(room);
    },
});
