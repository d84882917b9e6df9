-- How long an application service may act for whoever allows it, in
-- milliseconds, where that is what a code is for; and which code has led to
-- what a user has granted.
ALTER TABLE oauth_codes ADD COLUMN lasting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oauth_device_codes ADD COLUMN lasting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE appservice_grants ADD COLUMN code_hash BYTEA;
CREATE INDEX appservice_grants_code ON appservice_grants (code_hash);
