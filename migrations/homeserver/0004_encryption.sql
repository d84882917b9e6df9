-- Identity keys of devices: canonical JSON as uploaded, without unsigned.
CREATE TABLE device_keys (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    json      BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Keys that are given out once; position orders the uploads of a device.
CREATE TABLE one_time_keys (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    position  BIGINT NOT NULL,
    json      BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);
CREATE INDEX one_time_keys_oldest ON one_time_keys (user_id, device_id, algorithm, position);

-- Keys that are given out when there is no one-time key left.
CREATE TABLE fallback_keys (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    used      BOOLEAN NOT NULL,
    json      BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm)
);

-- kind is master, self_signing or user_signing.
CREATE TABLE cross_signing_keys (
    user_id TEXT NOT NULL,
    kind    TEXT NOT NULL,
    json    BYTEA NOT NULL,
    PRIMARY KEY (user_id, kind)
);

-- Signatures that were uploaded after the key that they are on: key_id is a
-- device's ID, or a master key without its algorithm.
CREATE TABLE key_signatures (
    user_id    TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    signer     TEXT NOT NULL,
    signer_key TEXT NOT NULL,
    signature  TEXT NOT NULL,
    PRIMARY KEY (user_id, key_id, signer, signer_key)
);

-- When a user's keys were last changed: for everybody (observer is empty), or
-- for one observer, who has signed them.
CREATE TABLE device_list_changes (
    user_id  TEXT NOT NULL,
    observer TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, observer)
);
CREATE INDEX device_list_changes_position ON device_list_changes (position);

-- Whose membership in a room changed since a position.
CREATE INDEX memberships_changes ON memberships (room_nid, position);

-- Messages on their way to a device.
CREATE TABLE to_device (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position  BIGINT NOT NULL,
    sender    TEXT NOT NULL,
    type      TEXT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);

-- Transaction IDs of messages to devices, so that a repeat is none.
CREATE TABLE to_device_transactions (
    user_id   TEXT NOT NULL,
    device_id TEXT NOT NULL,
    type      TEXT NOT NULL,
    txn_id    TEXT NOT NULL,
    sent_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id, type, txn_id)
);
CREATE INDEX to_device_transactions_sent ON to_device_transactions (sent_at);

-- Backups of room keys. A deleted version is remembered without its content.
-- changes counts the writes to a version's keys.
CREATE TABLE key_backups (
    user_id   TEXT NOT NULL,
    version   BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data BYTEA NOT NULL,
    changes   BIGINT NOT NULL,
    deleted   BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, version)
);

CREATE TABLE key_backup_sessions (
    user_id             TEXT NOT NULL,
    version             BIGINT NOT NULL,
    room_id             TEXT NOT NULL,
    session_id          TEXT NOT NULL,
    first_message_index BIGINT NOT NULL,
    forwarded_count     BIGINT NOT NULL,
    is_verified         BOOLEAN NOT NULL,
    session_data        BYTEA NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);
