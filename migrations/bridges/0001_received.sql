-- What the homeserver sent: transactions, to know a repeat, and events, until
-- they have been worked off (event becomes NULL then).
CREATE TABLE transactions (
    id TEXT NOT NULL PRIMARY KEY,
    received_at BIGINT NOT NULL
);

CREATE TABLE received (
    event_id TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    event BYTEA
);

CREATE INDEX received_pending ON received (seq) WHERE event IS NOT NULL;
CREATE INDEX received_room ON received (room_id, seq) WHERE event IS NOT NULL;
CREATE INDEX received_age ON received (received_at);
CREATE INDEX transactions_age ON transactions (received_at);
