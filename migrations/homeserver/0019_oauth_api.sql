-- Applications that have registered. The ID follows from what they have said
-- about themselves, so that those that say the same are one.
CREATE TABLE oauth_clients (
    client_id TEXT PRIMARY KEY,
    metadata  TEXT NOT NULL,
    used_at   BIGINT NOT NULL
);
CREATE INDEX oauth_clients_used ON oauth_clients (used_at);

-- Devices whose tokens came by OAuth. code_hash is of the code that they were
-- given for.
CREATE TABLE oauth_sessions (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scope     TEXT NOT NULL,
    code_hash BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
CREATE INDEX oauth_sessions_client ON oauth_sessions (client_id);
CREATE INDEX oauth_sessions_code ON oauth_sessions (code_hash);

-- Refresh tokens whose successors are in use. Whoever still has one is not
-- whom the session belongs to, or is not alone with it.
CREATE TABLE oauth_spent_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id    TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    refresh_id BIGINT NOT NULL UNIQUE
);
CREATE INDEX oauth_spent_tokens_device ON oauth_spent_tokens (user_id, device_id, refresh_id);

-- Authorization codes, kept after their use until they would have expired.
CREATE TABLE oauth_codes (
    code_hash    BYTEA PRIMARY KEY,
    client_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    scope        TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    challenge    TEXT NOT NULL,
    nonce        TEXT NOT NULL,
    used         BOOLEAN NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX oauth_codes_expires ON oauth_codes (expires_at);

-- Codes of devices without a browser. user_id is who has allowed it; pace is
-- how often the device may ask, in milliseconds.
CREATE TABLE oauth_device_codes (
    code_hash  BYTEA PRIMARY KEY,
    user_code  TEXT NOT NULL UNIQUE,
    client_id  TEXT NOT NULL,
    scope      TEXT NOT NULL,
    user_id    TEXT,
    denied     BOOLEAN NOT NULL,
    pace       BIGINT NOT NULL,
    ask_after  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_device_codes_expires ON oauth_device_codes (expires_at);

-- Browsers in which people have signed in.
CREATE TABLE oauth_browsers (
    cookie_hash BYTEA PRIMARY KEY,
    user_id     TEXT NOT NULL,
    since       BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX oauth_browsers_user ON oauth_browsers (user_id);
CREATE INDEX oauth_browsers_expires ON oauth_browsers (expires_at);

-- Users who have allowed their cross-signing keys to be replaced, for a while.
CREATE TABLE oauth_resets (
    user_id    TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
