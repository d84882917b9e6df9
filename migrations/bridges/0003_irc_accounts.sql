-- What Matrix users have told the IRC bridge about themselves, for each network.
-- Passwords and certificates are sealed with a key that is not in this database.
CREATE TABLE irc_accounts (
    network TEXT NOT NULL,
    user_id TEXT NOT NULL,
    username TEXT NOT NULL, -- of the account at the network's services; empty: the nick
    nick TEXT NOT NULL,     -- that the user has asked for; empty: the template's
    password BYTEA,
    certificate BYTEA,
    external BOOLEAN NOT NULL, -- the certificate is what logs in
    PRIMARY KEY (network, user_id)
);

-- The IPv6 addresses that Matrix users connect from. None is ever given to another user.
CREATE TABLE irc_sources (
    address TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL
);
