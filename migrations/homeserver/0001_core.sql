-- Users of any server, as the numbers that other tables use.
CREATE TABLE user_ids (
    user_nid BIGINT PRIMARY KEY,
    user_id  TEXT NOT NULL UNIQUE
);

CREATE TABLE event_types (
    type_nid BIGINT PRIMARY KEY,
    type     TEXT NOT NULL UNIQUE
);

-- A room's head (state, forward extremities, depth) and what directories show of it.
CREATE TABLE rooms (
    room_nid        BIGINT PRIMARY KEY,
    room_id         TEXT NOT NULL UNIQUE,
    version         TEXT NOT NULL,
    state_root      BIGINT NOT NULL,
    extremities     TEXT NOT NULL,
    depth           BIGINT NOT NULL,
    last_position   BIGINT NOT NULL,
    creator         TEXT NOT NULL,
    room_type       TEXT,
    name            TEXT,
    topic           TEXT,
    avatar_url      TEXT,
    canonical_alias TEXT,
    join_rule       TEXT NOT NULL,
    world_readable  BOOLEAN NOT NULL,
    guests_can_join BOOLEAN NOT NULL,
    encryption      TEXT,
    joined_members  BIGINT NOT NULL,
    invited_members BIGINT NOT NULL
);

-- An event as it was signed. position is its place in the stream, ordering
-- its place in the room: the same number, but for history that came later,
-- which counts downwards from zero.
CREATE TABLE events (
    event_nid        BIGINT PRIMARY KEY,
    event_id         TEXT NOT NULL UNIQUE,
    room_nid         BIGINT NOT NULL,
    type_nid         BIGINT NOT NULL,
    sender_nid       BIGINT NOT NULL,
    state_key        TEXT,
    position         BIGINT NOT NULL,
    ordering         BIGINT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    state_root       BIGINT NOT NULL,
    replaces_nid     BIGINT NOT NULL,
    redacted_by      BIGINT NOT NULL,
    txn_key          TEXT,
    json             BYTEA NOT NULL
);
CREATE UNIQUE INDEX events_position ON events (position);
CREATE UNIQUE INDEX events_room ON events (room_nid, ordering);
CREATE UNIQUE INDEX events_txn ON events (room_nid, sender_nid, txn_key) WHERE txn_key IS NOT NULL;

-- The dense numbers of a room's (type, state key) pairs.
CREATE TABLE state_keys (
    room_nid  BIGINT NOT NULL,
    key_nid   BIGINT NOT NULL,
    type      TEXT NOT NULL,
    state_key TEXT NOT NULL,
    PRIMARY KEY (room_nid, key_nid)
);

CREATE TABLE state_nodes (
    node_id BIGINT PRIMARY KEY,
    data    BYTEA NOT NULL
);

-- The newest membership of a user in a room. forgotten hides a left room;
-- stripped is the invite or knock state for rooms that this server is not in.
CREATE TABLE memberships (
    user_nid   BIGINT NOT NULL,
    room_nid   BIGINT NOT NULL,
    membership TEXT NOT NULL,
    event_nid  BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    forgotten  BOOLEAN NOT NULL,
    stripped   BYTEA,
    PRIMARY KEY (user_nid, room_nid)
);
CREATE INDEX memberships_room ON memberships (room_nid, membership);
CREATE INDEX memberships_position ON memberships (user_nid, position);

CREATE TABLE room_aliases (
    alias    TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    creator  TEXT NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_nid);

-- Rooms in the public directory; network '' is the homeserver's own list,
-- others are "appservice|network" lists.
CREATE TABLE published_rooms (
    room_nid BIGINT NOT NULL,
    network  TEXT NOT NULL,
    PRIMARY KEY (room_nid, network)
);

-- What the user directory shows of a user known here.
CREATE TABLE user_directory (
    user_id      TEXT PRIMARY KEY,
    display_name TEXT,
    avatar_url   TEXT,
    search       TEXT NOT NULL
);
