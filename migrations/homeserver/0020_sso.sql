-- Who people are at other places: a subject there is a user here.
CREATE TABLE sso_subjects (
    issuer    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    user_id   TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX sso_subjects_user ON sso_subjects (user_id);

-- Logins that are on their way through another place. The token is what comes
-- back with the browser's next request, the browser is told from others by a
-- cookie; both are kept as SHA-256 hashes.
CREATE TABLE sso_flows (
    flow_id      TEXT PRIMARY KEY,
    token_hash   BYTEA NOT NULL,
    browser_hash BYTEA NOT NULL,
    data         BYTEA NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sso_flows_expires ON sso_flows (expires_at);
