CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- A portal joins a channel and a room. It exists without a room while the
-- bridge only listens: what is said then waits in the outbox as scrollback.
CREATE TABLE portals (
    id BIGINT NOT NULL PRIMARY KEY,
    network TEXT NOT NULL,
    channel TEXT NOT NULL, -- folded: the one spelling of the channel's name
    name TEXT NOT NULL,    -- as people spell it
    alias TEXT NOT NULL,   -- empty until a room is about to be created
    room_id TEXT NOT NULL, -- empty until it is
    topic TEXT NOT NULL,
    wanted BOOLEAN NOT NULL, -- the bridge listens in the channel though there may be no room
    UNIQUE (network, channel)
);

CREATE UNIQUE INDEX portals_room ON portals (room_id) WHERE room_id <> '';

-- What is to be sent to Matrix, in order for each portal.
CREATE TABLE outbox (
    seq BIGINT NOT NULL PRIMARY KEY,
    portal BIGINT NOT NULL,
    entry BYTEA NOT NULL
);

CREATE INDEX outbox_portal ON outbox (portal, seq);

-- Who is in a portal's room: virtual users as far as we joined them, people as
-- far as the homeserver told us.
CREATE TABLE members (
    portal BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    ghost BOOLEAN NOT NULL,
    display_name TEXT NOT NULL,
    PRIMARY KEY (portal, user_id)
);

-- Virtual users that exist on the homeserver.
CREATE TABLE ghosts (
    user_id TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL
);

-- Which event is which message on the other side, for replies, edits and
-- redactions.
CREATE TABLE messages (
    event_id TEXT NOT NULL PRIMARY KEY,
    portal BIGINT NOT NULL,
    sender TEXT NOT NULL,
    remote_id TEXT NOT NULL, -- empty on networks that name no messages
    excerpt TEXT NOT NULL,
    sent_at BIGINT NOT NULL
);

CREATE INDEX messages_age ON messages (sent_at);
CREATE INDEX messages_remote ON messages (portal, remote_id) WHERE remote_id <> '';

-- Rooms in which a person talks to the bridge itself.
CREATE TABLE management_rooms (
    room_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL
);
