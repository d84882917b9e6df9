-- What was last said in a channel, and around a moment.
CREATE INDEX messages_portal ON messages (portal, sent_at);
