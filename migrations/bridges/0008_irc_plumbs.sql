-- Rooms of Matrix that people have linked with channels, or want to link: what
-- has become of asking a channel's operators for their consent.
CREATE TABLE irc_plumbs (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL, -- asked, granted, linked, ending; refused, expired
    network TEXT NOT NULL,
    room_id TEXT NOT NULL,
    content TEXT NOT NULL -- all of it, as JSON
);
