-- How events relate to others of their room (content."m.relates_to"). The
-- parent need not be known here. edit says that the event has the form of an
-- edit; annotation is the key of an m.annotation.
CREATE TABLE event_relations (
    event_nid        BIGINT PRIMARY KEY,
    room_nid         BIGINT NOT NULL,
    parent_id        TEXT NOT NULL,
    rel_type         TEXT NOT NULL,
    type_nid         BIGINT NOT NULL,
    sender_nid       BIGINT NOT NULL,
    ordering         BIGINT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    edit             BOOLEAN NOT NULL,
    annotation       TEXT
);
CREATE INDEX event_relations_parent ON event_relations (parent_id, ordering);
CREATE INDEX event_relations_threads ON event_relations (room_nid, parent_id, ordering) WHERE rel_type = 'm.thread';
