-- Reactions that both sides have, by which they are taken back.
CREATE TABLE reactions (
    event_id TEXT NOT NULL PRIMARY KEY,
    portal BIGINT NOT NULL,
    sender TEXT NOT NULL,
    remote_id TEXT NOT NULL, -- of the message
    content TEXT NOT NULL,   -- what somebody reacted with
    sent_at BIGINT NOT NULL
);

CREATE INDEX reactions_age ON reactions (sent_at);
CREATE INDEX reactions_remote ON reactions (portal, remote_id);

-- Matrix users for whom the IRC bridge's bot speaks, and those who want it to.
CREATE TABLE irc_relayed (
    network TEXT NOT NULL,
    user_id TEXT NOT NULL,
    nick TEXT NOT NULL,       -- by which the bot names them, and nobody else; empty: not yet
    named_for TEXT NOT NULL,  -- the display name of which that was made
    wanted BOOLEAN NOT NULL,  -- they want no connection of their own
    PRIMARY KEY (network, user_id)
);
