-- Virtual users that another bridge has made, where their IDs are not those that
-- the templates would give. nick is as it stands in the ID. Where both are empty, the
-- row says that another bridge has made users of the network.
CREATE TABLE irc_ghosts (
    network TEXT NOT NULL,
    user_id TEXT NOT NULL,
    nick TEXT NOT NULL,
    PRIMARY KEY (network, user_id)
);

-- Portals whose rooms another bridge has made. Who is in them, the homeserver is yet
-- to be asked for; until then nothing goes there.
CREATE TABLE inherited (
    portal BIGINT NOT NULL PRIMARY KEY
);
