-- What other servers sign with. A key that is current may sign requests and events until valid_until, which is
-- when its server is asked again; one that is not signed events until then, and nothing since.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    public_key  BYTEA NOT NULL,
    valid_until BIGINT NOT NULL,
    current     BOOLEAN NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

-- The last answer of each server, as it signed it: others may ask for it here. kept says that
-- an event has been verified with one of the server's keys, which are needed as long as the event is.
CREATE TABLE server_key_answers (
    server_name TEXT NOT NULL,
    answer      BYTEA NOT NULL,
    fetched_at  BIGINT NOT NULL,
    valid_until BIGINT NOT NULL,
    kept        BOOLEAN NOT NULL,
    PRIMARY KEY (server_name)
);
CREATE INDEX server_key_answers_stale ON server_key_answers (fetched_at, server_name) WHERE NOT kept;

-- Media of other servers have a budget, too: which of them nobody has asked for longest.
CREATE INDEX media_remote ON media ((COALESCE(used_at, created_at)), origin, media_id, size)
    WHERE user_id IS NULL AND hash IS NOT NULL AND quarantined_by IS NULL AND NOT protected;
