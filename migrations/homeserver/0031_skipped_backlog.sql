-- Events up to skipped are not sent to the service: an operator has said so.
ALTER TABLE appservice_cursors ADD COLUMN skipped BIGINT NOT NULL DEFAULT 0;

-- What came of it, where that is more than the outcome.
ALTER TABLE appservice_log ADD COLUMN result TEXT NOT NULL DEFAULT '';
