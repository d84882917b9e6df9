-- Application services that users let act for them, and the SHA-256 hashes of
-- the tokens with which they do. used_at is exact to a few minutes.
CREATE TABLE appservice_grants (
    user_id    TEXT NOT NULL,
    service    TEXT NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    PRIMARY KEY (user_id, service)
);
CREATE INDEX appservice_grants_expires ON appservice_grants (expires_at);
