-- How far users have read. thread_id is empty for a receipt of the whole room;
-- ordering is that of the event in its room.
CREATE TABLE receipts (
    room_nid  BIGINT NOT NULL,
    user_id   TEXT NOT NULL,
    type      TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    event_id  TEXT NOT NULL,
    ordering  BIGINT NOT NULL,
    ts        BIGINT NOT NULL,
    position  BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id, type, thread_id)
);
CREATE INDEX receipts_room ON receipts (room_nid, position);
CREATE INDEX receipts_position ON receipts (position);
