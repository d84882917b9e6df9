-- What the bridge's devices know: their own keys, sessions with other devices, keys to
-- rooms. The secrets among it are enciphered with a key that is sealed in settings.
CREATE TABLE encryption_records (
    owner TEXT NOT NULL, -- the user whose device it belongs to; empty: all of them
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    part TEXT NOT NULL,
    value BYTEA NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (owner, kind, name, part)
);

CREATE INDEX encryption_records_age ON encryption_records (kind, written_at);

-- Messages to the bridge's devices, until they have been worked off.
CREATE TABLE encryption_inbox (
    seq BIGINT NOT NULL PRIMARY KEY,
    message BYTEA NOT NULL
);

-- Which rooms are encrypted, as far as the bridge has looked.
CREATE TABLE room_encryption (
    room_id TEXT NOT NULL PRIMARY KEY,
    content BYTEA,         -- of m.room.encryption; NULL: the room is not encrypted
    told BOOLEAN NOT NULL  -- it was said in the room that the bridge cannot read it
);
