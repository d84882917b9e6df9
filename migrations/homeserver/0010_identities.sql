-- What administrators have done to an account. A locked one answers nothing but
-- logouts, a suspended one can only be read with. erased: its owner wanted
-- their events to be forgotten.
ALTER TABLE accounts ADD COLUMN locked BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN suspended BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN erased BOOLEAN NOT NULL DEFAULT FALSE;

-- Addresses that users have shown to be theirs.
CREATE TABLE threepids (
    medium       TEXT NOT NULL,
    address      TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    validated_at BIGINT NOT NULL,
    added_at     BIGINT NOT NULL,
    PRIMARY KEY (medium, address)
);
CREATE INDEX threepids_user ON threepids (user_id);

-- An address that somebody says is theirs. token_hash is of what the mail
-- held; purpose is what the address is wanted for.
CREATE TABLE threepid_sessions (
    sid           TEXT PRIMARY KEY,
    purpose       TEXT NOT NULL,
    medium        TEXT NOT NULL,
    address       TEXT NOT NULL,
    client_secret TEXT NOT NULL,
    token_hash    BYTEA NOT NULL,
    attempt       BIGINT NOT NULL,
    next_link     TEXT,
    created_at    BIGINT NOT NULL,
    validated_at  BIGINT
);
CREATE UNIQUE INDEX threepid_sessions_client ON threepid_sessions (client_secret, address, medium, purpose);
CREATE INDEX threepid_sessions_created ON threepid_sessions (created_at);

-- Tokens by which users prove to others who they are, as SHA-256 hashes.
CREATE TABLE openid_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id    TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX openid_tokens_expires ON openid_tokens (expires_at);
CREATE INDEX openid_tokens_user ON openid_tokens (user_id);

-- Which version of which policy a user has agreed to at registration.
CREATE TABLE consents (
    user_id   TEXT NOT NULL,
    policy    TEXT NOT NULL,
    version   TEXT NOT NULL,
    agreed_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, policy)
);

-- Where this server has told an identity server who has an address.
CREATE TABLE threepid_bindings (
    user_id   TEXT NOT NULL,
    medium    TEXT NOT NULL,
    address   TEXT NOT NULL,
    id_server TEXT NOT NULL,
    PRIMARY KEY (user_id, medium, address, id_server)
);
