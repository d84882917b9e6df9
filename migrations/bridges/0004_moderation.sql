-- What the bridge has made of a channel's modes in the portal's room, as JSON.
CREATE TABLE rights (
    portal BIGINT NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL
);

-- Bans that are on both sides: whom the room bans, and which mask the channel
-- has for it.
CREATE TABLE bans (
    portal BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    mask TEXT NOT NULL,
    PRIMARY KEY (portal, user_id)
);

-- The messages that an event has become on the other side, if it was cut into
-- several: all but the one that is in messages.
CREATE TABLE message_parts (
    event_id TEXT NOT NULL,
    portal BIGINT NOT NULL,
    remote_id TEXT NOT NULL,
    sent_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, remote_id)
);

CREATE INDEX message_parts_remote ON message_parts (portal, remote_id);
CREATE INDEX message_parts_age ON message_parts (sent_at);

-- Keys of channels, as far as the bridge knows them.
CREATE TABLE channel_keys (
    portal BIGINT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
);
