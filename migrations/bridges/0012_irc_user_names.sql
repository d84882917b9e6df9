-- The user names that Matrix users have on IRC, where they are made of a hash. None is ever given to another user.
CREATE TABLE irc_user_names (
    network TEXT NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (network, name)
);
