-- What Matrix users have chosen for themselves on IRC, by the name of the choice: for one network,
-- or for all of them (network is empty then).
CREATE TABLE irc_choices (
    network TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    chosen BOOLEAN NOT NULL,
    PRIMARY KEY (network, user_id, name)
);

-- What rooms say about the channels that they are bridged to (MSC2346), as it was last written.
CREATE TABLE bridge_info (
    portal BIGINT NOT NULL PRIMARY KEY,
    room_id TEXT NOT NULL,
    state_key TEXT NOT NULL,
    content TEXT NOT NULL
);

-- Who had the bridge make a portal.
CREATE TABLE portal_creators (
    portal BIGINT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL
);

-- Portals whose rooms the bridge has taken out of the directory of public rooms.
CREATE TABLE unlisted (
    portal BIGINT NOT NULL PRIMARY KEY
);

-- The rooms that portals had before theirs were replaced.
CREATE TABLE former_rooms (
    room_id TEXT NOT NULL PRIMARY KEY,
    portal BIGINT NOT NULL,
    replacement TEXT NOT NULL,
    finished BOOLEAN NOT NULL, -- nothing is left to be done there
    since BIGINT NOT NULL
);
