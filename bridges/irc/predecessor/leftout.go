package predecessor

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	maxDepth = 32
	maxNotes = 10_000
)

// carried are the settings that are read; "*" is any one key, and what is below a list is the list's.
var carried = []string{
	"homeserver.domain", "database.connectionString", "database.engine", "ircService.passwordEncryptionKeyPath", "ircService.databaseUri",
	"ircService.ident.*", "ircService.banLists.rooms", "ircService.provisioning.enabled", "icon",
	"name", "description", "networkId", "port", "ssl", "sslselfsign", "allowExpiredCerts", "sasl", "ca", "password", "additionalAddresses",
	"onlyAdditionalAddresses", "tlsOptions.ca", "modePowerMap.*", "botConfig.nick", "botConfig.username", "botConfig.password", "botConfig.enabled",
	"privateMessages.enabled", "dynamicChannels.enabled", "dynamicChannels.published", "dynamicChannels.useHomeserverDirectory", "dynamicChannels.createAlias", "dynamicChannels.joinRule", "dynamicChannels.aliasTemplate", "dynamicChannels.exclude",
	"mappings.*", "mappings.*.*", "excludedUsers", "membershipLists.enabled", "membershipLists.global.*.*",
	"matrixClients.userTemplate", "matrixClients.displayName", "ircClients.nickTemplate", "ircClients.maxClients", "ircClients.idleTimeout",
	"ircClients.reconnectIntervalMs", "ircClients.lineLimit", "ircClients.realnameFormat", "ircClients.ipv6.prefix",
}

// reasons are why settings are not carried over, by their beginnings; longer ones come first.
var reasons = []struct{ key, reason string }{
	{"homeserver.dropMatrixMessagesAfterSecs", "what is said while a network is away is sent when it is back"},
	{"homeserver.", "is said when the bridge is started, or is not needed inside of Trestle"},
	{"ircService.logging", "Trestle logs to standard error; see logging"},
	{"ircService.metrics", "figures are at /metrics of the homeserver"},
	{"ircService.debugApi", "operators use trestle bridge irc status, rooms, reconnect and kick"},
	{"ircService.provisioning", "has no counterpart in this form; see docs/irc.md"},
	{"ircService.permissions", "operators use the command line instead of the admin room"},
	{"ircService.bridgeInfoState", "there is no such switch"},
	{"ircService.mediaProxy", "files are links that the bridge signs; see bridges.irc.links"},
	{"ircService.perRoomConfig", "rooms have no settings of their own"},
	{"ircService.encodingFallback", "what is not UTF-8 is read as Latin-1"},
	{"ircService.RMAUlimit", "users are not counted; see max_connections"},
	{"ircService.userActivity", "users are not counted"},
	{"ircService.matrixHandler", "replies have one form; see docs/irc.md"},
	{"ircService.ircHandler", "mentions are always recognised; changes of power are always gathered"},
	{"advanced.", "is not needed"},
	{"sentry.", "there is no such service"},
	{"connectionPool.", "connections live in the bridge's process"},
	{"quitDebounce", "quits of a netsplit are always held back"},
	{"membershipLists", "members are always kept in step, without a list of exceptions; see lazy_members"},
	{"botConfig.joinChannelsIfNoUsers", "the bot is in all channels that have a room"},
	{"botConfig", "there is no such setting"},
	{"sendConnectionMessages", "people are told only what they can do something about"},
	{"privateMessages", "there is no such setting"},
	{"dynamicChannels.whitelist", "new rooms are for all who may join them, not for these users alone; see portals"},
	{"dynamicChannels.federate", "new rooms can be joined from other homeservers, where the homeserver lets them"},
	{"dynamicChannels.roomVersion", "new rooms have the homeserver's usual version"},
	{"dynamicChannels", "there is no such setting"},
	{"matrixClients.joinAttempts", "attempts have deadlines instead"},
	{"ircClients.allowNickChanges", "people may always choose a nick, by !irc nick"},
	{"ircClients.concurrentReconnectLimit", "see connect_burst and connect_interval"},
	{"ircClients.ipv6", "each user has an address of their own, without blocks for homeservers"},
	{"ircClients.kickOn", "who is not in a channel leaves its room; see history"},
	{"ircClients.ping", "connections are always watched"},
	{"ircClients.userModes", "there is no such setting"},
	{"tlsOptions", "there is no such setting"},
}

// leftOut notes the settings of the file that are not read.
func (c *Config) leftOut(root *yaml.Node) {
	if len(root.Content) == 1 {
		c.look(root.Content[0], nil, 0)
	}
}

func (c *Config) look(n *yaml.Node, path []string, depth int) {
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 && depth < maxDepth {
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.look(n.Content[i+1], append(slices.Clip(path), n.Content[i].Value), depth+1)
		}
		return
	}
	within := path
	if len(path) > 3 && path[0] == "ircService" && path[1] == "servers" {
		within = path[3:]
	}
	if slices.ContainsFunc(carried, func(pattern string) bool { return matches(pattern, within) }) || len(c.Notes) >= maxNotes {
		return
	}
	key, reason := strings.Join(within, "."), "there is no such setting"
	for _, r := range reasons {
		if strings.HasPrefix(key, r.key) {
			reason = r.reason
			break
		}
	}
	c.note(strings.Join(path, "."), "%s", reason)
}

// matches tells whether a path is that of a pattern.
func matches(pattern string, path []string) bool {
	parts := strings.Split(pattern, ".")
	if len(parts) != len(path) {
		return false
	}
	for i, part := range parts {
		if part != "*" && part != path[i] {
			return false
		}
	}
	return true
}
