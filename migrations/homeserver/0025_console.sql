-- Browsers in which an administrator has signed in to the console.
CREATE TABLE console_sessions (
    cookie_hash BYTEA PRIMARY KEY,
    user_id     TEXT NOT NULL,
    since       BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX console_sessions_user ON console_sessions (user_id);
CREATE INDEX console_sessions_expires ON console_sessions (expires_at);

-- How the delivery to application services stood in each minute (at, Unix ms)
-- of the last day: what waited at its end, how old the oldest of that was (ms),
-- and what was delivered or failed in it.
CREATE TABLE appservice_samples (
    service  TEXT NOT NULL,
    at       BIGINT NOT NULL,
    backlog  BIGINT NOT NULL,
    age      BIGINT NOT NULL,
    events   BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (service, at)
);
CREATE INDEX appservice_samples_at ON appservice_samples (at);
