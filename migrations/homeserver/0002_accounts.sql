-- Local accounts. Without a password hash nobody can log in by password:
-- application services' users, guests and deactivated accounts.
CREATE TABLE accounts (
    user_id       TEXT PRIMARY KEY,
    password_hash TEXT,
    guest         BOOLEAN NOT NULL,
    admin         BOOLEAN NOT NULL,
    deactivated   BOOLEAN NOT NULL,
    appservice    TEXT,
    created_at    BIGINT NOT NULL
);

CREATE TABLE devices (
    user_id      TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    display_name TEXT,
    last_seen_at BIGINT,
    last_seen_ip TEXT,
    user_agent   TEXT,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Tokens are kept as SHA-256 hashes. refresh_id is the refresh token that was
-- given out together with the access token.
CREATE TABLE access_tokens (
    token_hash BYTEA PRIMARY KEY,
    token_id   BIGINT NOT NULL UNIQUE,
    user_id    TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    refresh_id BIGINT,
    expires_at BIGINT
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_refresh ON access_tokens (refresh_id) WHERE refresh_id IS NOT NULL;

-- replaces_id is the refresh token that ends when this one, or its access
-- token, is first used.
CREATE TABLE refresh_tokens (
    refresh_id  BIGINT PRIMARY KEY,
    token_hash  BYTEA NOT NULL UNIQUE,
    user_id     TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    replaces_id BIGINT
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_replaces ON refresh_tokens (replaces_id) WHERE replaces_id IS NOT NULL;

-- A session of user-interactive authentication that has finished some of its
-- stages, but not all.
CREATE TABLE auth_sessions (
    session_id TEXT PRIMARY KEY,
    completed  TEXT NOT NULL,
    started_at BIGINT NOT NULL
);
CREATE INDEX auth_sessions_started ON auth_sessions (started_at);

CREATE TABLE profile_fields (
    user_id TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   BYTEA NOT NULL,
    PRIMARY KEY (user_id, name)
);

-- room_id is empty for data of the whole account.
CREATE TABLE account_data (
    user_id  TEXT NOT NULL,
    room_id  TEXT NOT NULL,
    type     TEXT NOT NULL,
    content  BYTEA NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_position ON account_data (user_id, position);

-- What users have changed about the predefined push rules.
CREATE TABLE push_rules (
    user_id  TEXT PRIMARY KEY,
    rules    BYTEA NOT NULL,
    position BIGINT NOT NULL
);

CREATE TABLE filters (
    user_id   TEXT NOT NULL,
    filter_id BIGINT NOT NULL,
    hash      BYTEA NOT NULL,
    json      BYTEA NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);
CREATE UNIQUE INDEX filters_hash ON filters (user_id, hash);
