-- The position of the newest event that moves a room up in lists of rooms: what
-- people say, not what happens to the room.
ALTER TABLE rooms ADD COLUMN bump_position BIGINT NOT NULL DEFAULT 0;
UPDATE rooms
SET bump_position = COALESCE((
    SELECT MAX(e.position)
    FROM events e
    JOIN event_types t ON t.type_nid = e.type_nid
    WHERE e.room_nid = rooms.room_nid AND t.type IN ('m.room.create', 'm.room.message', 'm.room.encrypted',
        'm.sticker', 'm.call.invite', 'm.poll.start', 'org.matrix.msc3381.poll.start', 'm.beacon_info', 'org.matrix.msc3672.beacon_info')), 0);

-- The first members of a room, by whom it is called, without sorting all of them.
DROP INDEX memberships_room;
CREATE INDEX memberships_room ON memberships (room_nid, membership, event_nid);
