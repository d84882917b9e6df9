-- Messages to devices that are in a transaction for an application service:
-- they leave to_device together with it.
CREATE TABLE appservice_messages (
    service   TEXT NOT NULL,
    number    BIGINT NOT NULL,
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position  BIGINT NOT NULL,
    PRIMARY KEY (service, number, user_id, device_id, position)
);

-- Messages in the order of the stream, whoever they are for.
CREATE INDEX to_device_position ON to_device (position, user_id, device_id);

-- When the number of unused keys of an application service's users last changed.
CREATE TABLE key_count_changes (
    user_id  TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);
CREATE INDEX key_count_changes_position ON key_count_changes (position);
