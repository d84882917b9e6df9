-- Where users want to be notified: at push gateways, and by mail. device_id is
-- the login that made a pusher, which goes with it; NULL for application
-- services. position is up to where notifications were dealt with, badge the
-- count of unread ones that was sent last.
CREATE TABLE pushers (
    pusher_id    BIGINT PRIMARY KEY,
    user_id      TEXT NOT NULL,
    device_id    TEXT,
    kind         TEXT NOT NULL,
    app_id       TEXT NOT NULL,
    pushkey      TEXT NOT NULL,
    app_name     TEXT NOT NULL,
    device_name  TEXT NOT NULL,
    profile_tag  TEXT,
    lang         TEXT NOT NULL,
    data         BYTEA NOT NULL,
    enabled      BOOLEAN NOT NULL,
    set_at       BIGINT NOT NULL,
    position     BIGINT NOT NULL,
    badge        BIGINT NOT NULL
);
CREATE UNIQUE INDEX pushers_user ON pushers (user_id, app_id, pushkey);
CREATE INDEX pushers_key ON pushers (app_id, pushkey);

-- When a pusher last mailed about a room, and how long (ms) it then stays quiet
-- about it.
CREATE TABLE pusher_rooms (
    pusher_id BIGINT NOT NULL,
    room_nid  BIGINT NOT NULL,
    mailed_at BIGINT NOT NULL,
    pause     BIGINT NOT NULL,
    PRIMARY KEY (pusher_id, room_nid)
);
CREATE INDEX pusher_rooms_room ON pusher_rooms (room_nid);
