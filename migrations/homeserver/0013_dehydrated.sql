-- The device of a user that waits, encrypted, for the user to log in again
-- (MSC3814). It is one of the user's devices, too.
CREATE TABLE dehydrated_devices (
    user_id   TEXT NOT NULL PRIMARY KEY,
    device_id TEXT NOT NULL,
    data      BYTEA NOT NULL
);
