-- What people can search for: the words of messages, names and topics, and
-- marks of their rooms, senders and kinds, under the positions of the events.
-- Filled behind the stream; search_progress is how far.

-- only: sqlite
CREATE VIRTUAL TABLE search_words USING fts5(words, content='', contentless_delete=1, detail='none', tokenize='ascii');

-- only: postgres
CREATE TABLE search_words (
    position BIGINT PRIMARY KEY,
    words    TSVECTOR NOT NULL
);
CREATE INDEX search_words_words ON search_words USING GIN (words);

CREATE TABLE search_progress (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL
);
INSERT INTO search_progress (id, position) VALUES (1, 0);

-- Events by the time that they say they are from.
CREATE INDEX events_time ON events (room_nid, origin_server_ts, ordering);

-- What users have reported to the operators: events, rooms and users. user_id is
-- the user who is reported, or the sender of the event; what does not apply is
-- empty. Who reports the same again replaces what they said.
CREATE TABLE reports (
    report_id   BIGINT PRIMARY KEY,
    kind        TEXT NOT NULL,
    reporter    TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    reason      TEXT,
    score       BIGINT,
    received_at BIGINT NOT NULL
);
CREATE INDEX reports_kind ON reports (kind, report_id);
CREATE UNIQUE INDEX reports_subject ON reports (reporter, kind, room_id, event_id, user_id);
