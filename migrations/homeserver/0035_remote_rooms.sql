-- Events of rooms that other servers are in. branch_root is the state after an event on its own branch of the room's
-- history, where that is not the state of the room after it; else 0.
ALTER TABLE events ADD COLUMN branch_root BIGINT NOT NULL DEFAULT 0;

-- Whether events are missing right before one.
ALTER TABLE events ADD COLUMN gap BOOLEAN NOT NULL DEFAULT FALSE;

-- Events that are in no stream, numbered like those that are: verdict 1 only authorizes others or belongs to a state, 2 came too
-- late for what the room had become (soft-failed), 3 breaks the rules (rejected). branch_root is as above, 0 if it is not known.
CREATE TABLE asides (
    event_nid   BIGINT PRIMARY KEY,
    event_id    TEXT NOT NULL UNIQUE,
    room_nid    BIGINT NOT NULL,
    verdict     BIGINT NOT NULL,
    branch_root BIGINT NOT NULL,
    redacted_by BIGINT NOT NULL,
    json        BYTEA NOT NULL
);
CREATE INDEX asides_room ON asides (room_nid);

-- The state before the first event of a room that this server has in its stream; 0 for rooms that began here.
ALTER TABLE rooms ADD COLUMN first_root BIGINT NOT NULL DEFAULT 0;

-- What the oldest known events of a room refer to, and this server does not have: where its history goes on elsewhere.
CREATE TABLE room_frontiers (
    room_nid BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (room_nid, event_id)
);

-- Redactions that came before what they redact.
CREATE TABLE early_redactions (
    target_id     TEXT NOT NULL,
    redaction_nid BIGINT NOT NULL,
    room_nid      BIGINT NOT NULL,
    PRIMARY KEY (target_id, redaction_nid)
);
CREATE INDEX early_redactions_room ON early_redactions (room_nid);
