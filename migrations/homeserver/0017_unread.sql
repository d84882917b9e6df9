-- Events that notify users, by the users' rules. position and ts are those of
-- the event in the stream and of when it was held against the rules; thread_nid
-- is the root of its thread, 0 in the main timeline. read: the user has read up
-- to it. actions is the rule's, as JSON.
CREATE TABLE notifications (
    user_nid   BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    room_nid   BIGINT NOT NULL,
    event_nid  BIGINT NOT NULL,
    thread_nid BIGINT NOT NULL,
    highlight  BOOLEAN NOT NULL,
    read       BOOLEAN NOT NULL,
    ts         BIGINT NOT NULL,
    actions    TEXT NOT NULL,
    PRIMARY KEY (user_nid, position)
);
CREATE INDEX notifications_position ON notifications (position);
CREATE INDEX notifications_unread ON notifications (user_nid, room_nid, thread_nid, position) WHERE NOT read;
CREATE INDEX notifications_highlights ON notifications (user_nid, position) WHERE highlight;

-- How many unread notifications a user has in a thread of a room, and the
-- position of the newest one. There is no row where there are none.
CREATE TABLE unread_counts (
    user_nid      BIGINT NOT NULL,
    room_nid      BIGINT NOT NULL,
    thread_nid    BIGINT NOT NULL,
    notifications BIGINT NOT NULL,
    highlights    BIGINT NOT NULL,
    newest        BIGINT NOT NULL,
    PRIMARY KEY (user_nid, room_nid, thread_nid)
);
CREATE INDEX unread_counts_room ON unread_counts (room_nid, user_nid);

-- How far readers of the stream have come that keep their place here.
CREATE TABLE stream_cursors (
    reader   TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);

-- Threads that users follow, or have stopped to (MSC4306). position is that of
-- the last change; unsubscribed is the position of the last time that the user
-- left the thread, 0 if that has not happened.
CREATE TABLE thread_subscriptions (
    user_nid     BIGINT NOT NULL,
    root_nid     BIGINT NOT NULL,
    room_nid     BIGINT NOT NULL,
    subscribed   BOOLEAN NOT NULL,
    automatic    BOOLEAN NOT NULL,
    unsubscribed BIGINT NOT NULL,
    position     BIGINT NOT NULL,
    PRIMARY KEY (user_nid, root_nid)
);
CREATE INDEX thread_subscriptions_position ON thread_subscriptions (user_nid, position);
CREATE INDEX thread_subscriptions_root ON thread_subscriptions (root_nid, user_nid);
CREATE INDEX thread_subscriptions_room ON thread_subscriptions (room_nid, user_nid);
