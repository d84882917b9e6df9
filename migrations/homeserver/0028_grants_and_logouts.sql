-- How long an application service may act for whoever allows it, in
-- milliseconds, where that is what a code is for; and which code has led to
-- what a user has granted.
ALTER TABLE oauth_codes ADD COLUMN lasting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oauth_device_codes ADD COLUMN lasting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE appservice_grants ADD COLUMN code_hash BYTEA;
CREATE INDEX appservice_grants_code ON appservice_grants (code_hash);

-- Where somebody has logged in who gets a login token, or empty: which
-- provider's subject, and the provider's ID of the session (sid).
ALTER TABLE login_tokens ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE login_tokens ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE login_tokens ADD COLUMN session TEXT NOT NULL DEFAULT '';

-- The devices that have come of that, for the provider's word that it is over.
CREATE TABLE sso_sessions (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    issuer    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    session   TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
CREATE INDEX sso_sessions_subject ON sso_sessions (issuer, subject);
CREATE INDEX sso_sessions_session ON sso_sessions (issuer, session);

-- Such words that have been heard, until they would not be believed any more.
CREATE TABLE sso_logouts (
    issuer     TEXT NOT NULL,
    token_id   TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, token_id)
);
CREATE INDEX sso_logouts_expires ON sso_logouts (expires_at);
