-- The position from which the service's registration has had no URL; 0 while it has one.
ALTER TABLE appservice_cursors ADD COLUMN silent BIGINT NOT NULL DEFAULT 0;
-- Of the events up to skipped, those up to here are sent all the same.
ALTER TABLE appservice_cursors ADD COLUMN skipped_from BIGINT NOT NULL DEFAULT 0;
