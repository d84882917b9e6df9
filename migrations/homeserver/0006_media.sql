-- What media IDs stand for. The bytes are in files that are named by their
-- SHA-256 hash; one file may serve many IDs. Without a hash the ID has been
-- given out, but nothing has been uploaded to it yet.
-- unauthenticated says that the endpoints without authentication may serve it.
CREATE TABLE media (
    origin          TEXT NOT NULL,
    media_id        TEXT NOT NULL,
    hash            BYTEA,
    size            BIGINT NOT NULL,
    content_type    TEXT NOT NULL,
    file_name       TEXT NOT NULL,
    user_id         TEXT,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT,
    unauthenticated BOOLEAN NOT NULL,
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_unused ON media (user_id, expires_at) WHERE hash IS NULL;

-- Thumbnails that have been made, by the hash of the picture. thumbnail_hash
-- names the file. Width and height are those of a size in the configuration,
-- or 0 for the whole picture without its movement.
CREATE TABLE media_thumbnails (
    hash           BYTEA NOT NULL,
    width          INTEGER NOT NULL,
    height         INTEGER NOT NULL,
    method         TEXT NOT NULL,
    animated       BOOLEAN NOT NULL,
    thumbnail_hash BYTEA NOT NULL,
    content_type   TEXT NOT NULL,
    size           BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (hash, width, height, method, animated)
);
