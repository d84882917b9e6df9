-- What pages say about themselves, by the SHA-256 of their URLs.
CREATE TABLE url_previews (
    url_hash   BYTEA PRIMARY KEY,
    url        TEXT NOT NULL,
    answer     BYTEA NOT NULL,
    fetched_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX url_previews_expires ON url_previews (expires_at);

-- used_at is when media were last asked for, to the day. quarantined_by is
-- the administrator who hid them; protected media cannot be hidden.
ALTER TABLE media ADD COLUMN used_at BIGINT;
ALTER TABLE media ADD COLUMN quarantined_by TEXT;
ALTER TABLE media ADD COLUMN protected BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX media_hash ON media (hash) WHERE hash IS NOT NULL;
CREATE INDEX media_user ON media (user_id, created_at) WHERE user_id IS NOT NULL;
CREATE INDEX media_thumbnails_file ON media_thumbnails (thumbnail_hash);

-- Tokens that let their holders register; NULL is without a limit. pending
-- counts registrations that hold a use and are not finished.
CREATE TABLE registration_tokens (
    token        TEXT PRIMARY KEY,
    uses_allowed BIGINT,
    pending      BIGINT NOT NULL,
    completed    BIGINT NOT NULL,
    expires_at   BIGINT
);

-- The room in which a user gets notices of the server.
CREATE TABLE notice_rooms (
    user_id TEXT PRIMARY KEY,
    room_id TEXT NOT NULL
);

-- Rooms that nobody here may join, whether or not they are known.
CREATE TABLE blocked_rooms (
    room_id    TEXT PRIMARY KEY,
    blocked_by TEXT NOT NULL
);

-- Deletions of rooms and of history, until some days after their end.
CREATE TABLE room_deletions (
    deletion_id TEXT PRIMARY KEY,
    room_id     TEXT NOT NULL,
    room_nid    BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    changed_at  BIGINT NOT NULL
);
CREATE INDEX room_deletions_room ON room_deletions (room_id);
CREATE INDEX account_data_room ON account_data (room_id) WHERE room_id <> '';
