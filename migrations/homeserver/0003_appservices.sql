-- How far the delivery to each application service has come: everything that
-- concerns it up to position has been frozen into number transactions.
CREATE TABLE appservice_cursors (
    service  TEXT PRIMARY KEY,
    epoch    TEXT NOT NULL,
    position BIGINT NOT NULL,
    number   BIGINT NOT NULL
);

-- Transactions that no answer has been seen to, exactly as they are sent.
CREATE TABLE appservice_transactions (
    service  TEXT NOT NULL,
    number   BIGINT NOT NULL,
    txn_id   TEXT NOT NULL,
    position BIGINT NOT NULL,
    events   BIGINT NOT NULL,
    oldest   BIGINT NOT NULL,
    body     BYTEA NOT NULL,
    PRIMARY KEY (service, number)
);
