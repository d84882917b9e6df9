// A bot by matrix-bot-sdk. It comes when it is invited and answers "!ping";
// "!as NAME TEXT" has one of its ghosts say something, and whoever asks for
// #bot_… or @bot_… gets it, unless its name is "nothing" or "nobody".

import { readFileSync } from "node:fs";
import yaml from "js-yaml";
import { Appservice, AutojoinRoomsMixin, LogLevel, LogService, MemoryStorageProvider, SimpleRetryJoinStrategy } from "matrix-bot-sdk";

LogService.setLevel(LogLevel.WARN);

const service = new Appservice({
    bindAddress: "127.0.0.1",
    port: Number(process.env.PORT),
    homeserverName: "localhost",
    homeserverUrl: process.env.HOMESERVER,
    registration: yaml.load(readFileSync(process.env.REGISTRATION, "utf8")),
    storage: new MemoryStorageProvider(),
    joinStrategy: new SimpleRetryJoinStrategy(),
});
AutojoinRoomsMixin.setupOnAppservice(service);

service.on("room.message", async (roomId, event) => {
    const [command, name, ...words] = (event.content?.body ?? "").split(" ");
    if (command === "!ping") {
        await service.botIntent.sendText(roomId, `pong, ${event.sender}`, "m.notice");
    }
    if (command === "!as") {
        const ghost = service.getIntentForSuffix(name);
        await ghost.ensureRegisteredAndJoined(roomId);
        await ghost.underlyingClient.setDisplayName(`${name} (bot)`);
        await ghost.sendText(roomId, words.join(" "));
    }
});

service.on("query.room", (alias, create) => {
    create(alias.includes("nothing") ? false : { preset: "public_chat", name: `The room ${alias}` });
});

service.on("query.user", (userId, create) => {
    create(userId.includes("nobody") ? false : { display_name: `Ghost ${service.getSuffixForUserId(userId)}` });
});

await service.begin();
console.log("ready");
