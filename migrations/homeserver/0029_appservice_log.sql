-- What operators have done about application services. An entry is there before
-- it is done: its outcome is 0 until it is known, then 1 if it was done and 2 if
-- it was not, for the error.
CREATE TABLE appservice_log (
    number  BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL,
    done_by TEXT NOT NULL,
    service TEXT NOT NULL,
    action  TEXT NOT NULL,
    txn_id  TEXT NOT NULL,
    letter  BIGINT NOT NULL,
    reason  TEXT NOT NULL,
    outcome BIGINT NOT NULL,
    error   TEXT NOT NULL
);
CREATE INDEX appservice_log_service ON appservice_log (service, number);
CREATE INDEX appservice_log_at ON appservice_log (at);
