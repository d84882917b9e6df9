-- Application services that an operator has paused: they are sent no transactions.
CREATE TABLE appservice_pauses (
    service   TEXT PRIMARY KEY,
    reason    TEXT NOT NULL,
    paused_at BIGINT NOT NULL
);

-- Transactions that an operator has taken out of a service's queue, exactly as
-- they were sent in vain. They stay until they are sent again or discarded.
CREATE TABLE appservice_dead_letters (
    letter     BIGINT PRIMARY KEY,
    service    TEXT NOT NULL,
    txn_id     TEXT NOT NULL,
    position   BIGINT NOT NULL,
    events     BIGINT NOT NULL,
    oldest     BIGINT NOT NULL,
    body       BYTEA NOT NULL,
    reason     TEXT NOT NULL,
    skipped_by TEXT NOT NULL,
    skipped_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    error      TEXT NOT NULL,
    failed_at  BIGINT NOT NULL
);
CREATE INDEX appservice_dead_letters_service ON appservice_dead_letters (service, letter);
