-- Portals whose rooms were made for somebody who has not come yet, and since when, Unix ms.
CREATE TABLE unvisited (
    portal BIGINT NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);

-- Rooms that are no portal's any more, and in which the bridge's users may still be.
CREATE TABLE given_up (
    room_id TEXT NOT NULL PRIMARY KEY
);
