-- Up to where the stream has been read for other servers. No row: it never was.
CREATE TABLE outbox_progress (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL
);

-- Events that other servers have not taken yet, each under its position in the stream.
CREATE TABLE outbox_events (
    destination TEXT NOT NULL,
    position    BIGINT NOT NULL,
    room_nid    BIGINT NOT NULL,
    event_nid   BIGINT NOT NULL,
    PRIMARY KEY (destination, position)
);

-- Of servers for which something waits: the transaction that was made for them last, which holds their events up to a
-- position (txn_id is NULL if there is none), and since when they have not taken what they were sent (0: they do).
CREATE TABLE outbox_destinations (
    destination   TEXT PRIMARY KEY,
    txn_id        TEXT,
    through       BIGINT NOT NULL,
    frozen_at     BIGINT NOT NULL,
    failing_since BIGINT NOT NULL
);

-- What is not told by whose an event is, until the stream has been read that far: events of others that this server passes on
-- (sent), and events of its own that another server passes on (not sent).
CREATE TABLE relayed_events (
    event_nid BIGINT PRIMARY KEY,
    sent      BOOLEAN NOT NULL
);
