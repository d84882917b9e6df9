-- Events that are to be sent later (MSC4140), and for some days what became of
-- them: event_id if they were sent, error if they could not be.
CREATE TABLE delayed_events (
    delay_id     TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL,
    appservice   TEXT,
    guest        BOOLEAN NOT NULL,
    unlimited    BOOLEAN NOT NULL,
    room_nid     BIGINT NOT NULL,
    type         TEXT NOT NULL,
    state_key    TEXT,
    content      BYTEA NOT NULL,
    txn_key      TEXT,
    ts           BIGINT NOT NULL,
    delay        BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    due          BIGINT NOT NULL,
    finalised_at BIGINT,
    event_id     TEXT,
    error        BYTEA
);
CREATE INDEX delayed_events_due ON delayed_events (due) WHERE finalised_at IS NULL;
CREATE INDEX delayed_events_user ON delayed_events (user_id, due);
CREATE INDEX delayed_events_room ON delayed_events (room_nid);
CREATE INDEX delayed_events_finalised ON delayed_events (finalised_at) WHERE finalised_at IS NOT NULL;
CREATE UNIQUE INDEX delayed_events_txn ON delayed_events (user_id, room_nid, txn_key) WHERE txn_key IS NOT NULL;

-- Invites by address that have not been accepted: whoever proves to an identity
-- server that the address is theirs is invited in the sender's name.
CREATE TABLE threepid_invites (
    room_nid  BIGINT NOT NULL,
    token     TEXT NOT NULL,
    sender    TEXT NOT NULL,
    id_server TEXT NOT NULL,
    medium    TEXT NOT NULL,
    address   TEXT NOT NULL,
    PRIMARY KEY (room_nid, token)
);
CREATE INDEX threepid_invites_address ON threepid_invites (address, medium, id_server);
