package predecessor

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"trestle/bridges/irc/names"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *mapping) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode(&m.Rooms)
	}
	var full struct {
		Rooms []string `yaml:"roomIds"`
		Key   string   `yaml:"key"`
	}
	err := n.Decode(&full)
	m.Rooms, m.Key = full.Rooms, full.Key
	return err
}

// maxConnections is as good as no limit.
const maxConnections = 1_000_000

// An authority is one certificate, or a list of them.
type authority string

// UnmarshalYAML implements yaml.Unmarshaler.
func (a *authority) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return n.Decode((*string)(a))
	}
	var all []string
	if err := n.Decode(&all); err != nil {
		return err
	}
	for _, one := range all {
		*a += authority(strings.TrimSpace(one) + "\n")
	}
	return nil
}

// network makes one of our networks.
func (c *Config) network(domain string, s *server, taken map[string]bool) *Network {
	n := &Network{Domain: domain, ID: id(domain, s.NetworkID, taken), Settings: config.DefaultIRCNetwork(), from: map[string]string{}}
	c.addresses(n, s)
	c.names(n, s)
	c.clients(n, s)
	c.members(n, s)
	c.mappings(n, s)
	for _, one := range s.Excluded {
		if line, ok := banOf(one.Regex); ok {
			n.Bans = append(n.Bans, line)
		} else {
			c.about(n, "excludedUsers", "%q is not a pattern that a ban file can have; write it by hand", one.Regex)
		}
	}
	for _, channel := range s.Dynamic.Exclude {
		if !validChannel(channel) {
			c.about(n, "dynamicChannels.exclude", "%.200q is not a channel", channel)
			continue
		}
		n.Bans = append(n.Bans, c.excluded(n, channel)...)
	}
	return n
}

// excluded are lines of a ban file by which a channel gets no room, whichever spellings the network takes for one.
func (c *Config) excluded(n *Network, channel string) (lines []string) {
	alias, _ := n.templates()
	for _, mapping := range []names.CaseMapping{names.RFC1459, names.ASCII} {
		line := "room #" + strings.Replace(alias, "{channel}", names.EscapeChannel(mapping.Fold(channel)), 1) + ":" + string(c.ServerName)
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// about is a note on one of a network's settings.
func (c *Config) about(n *Network, key, format string, args ...any) {
	c.note("ircService.servers."+n.Domain+"."+key, format, args...)
}

func (c *Config) addresses(n *Network, s *server) {
	set := &n.Settings
	set.Name = oneLine(cmp.Or(s.Name, s.Description))
	n.from["name"], n.from["address"], n.from["servers"] = "name", "the server's name, port", "additionalAddresses"
	hosts := slices.Clone(s.Additional)
	if !s.OnlyThese || len(hosts) == 0 {
		hosts = append([]string{n.Domain}, hosts...)
	}
	port := s.Port
	if port == 0 && s.SSL {
		port = 6697
	}
	port = cmp.Or(port, 6667)
	set.Address = joinHost(hosts[0], port)
	for _, host := range hosts[1:] {
		set.Servers = append(set.Servers, joinHost(host, port))
	}
	set.TLS, set.TLSVerify = s.SSL, !(s.SSL && (s.SelfSigned || s.Expired))
	n.from["tls"], n.from["tls_verify"] = "ssl", "sslselfsign, allowExpiredCerts"
	if n.Authorities = cmp.Or(s.CA, string(s.TLS.CA)); n.Authorities != "" {
		set.CAFile, n.from["ca_file"] = "irc-ca-"+n.ID+".pem", "tlsOptions.ca"
	}
	if s.Bot.Nick != nil {
		set.BotNick, n.from["bot_nick"] = *s.Bot.Nick, "botConfig.nick"
	} else {
		set.BotNick, n.from["bot_nick"] = "appservicebot", "the default of botConfig.nick"
	}
	if s.Bot.Enabled != nil && !*s.Bot.Enabled {
		c.about(n, "botConfig.enabled", "the bot is always there: it is what sees the channel")
	}
	set.Password, n.from["password"] = config.Secret(oneLine(s.Password)), "password"
	n.SASL = s.SASL
	if s.Icon != "" {
		if room, file, ok := strings.Cut(strings.TrimPrefix(s.Icon, "mxc://"), "/"); ok && strings.HasPrefix(s.Icon, "mxc://") && room != "" && file != "" && oneLine(s.Icon) == s.Icon {
			set.Icon, n.from["icon"] = s.Icon, "icon"
		} else {
			c.about(n, "icon", "%.200q is not an address such as mxc://example.org/abc", s.Icon)
		}
	}
	if s.Bot.Password != "" {
		if s.SASL {
			set.SASL = config.SASL{Mechanism: "PLAIN", Username: oneLine(or(s.Bot.Username, "matrixbot")), Password: config.Secret(oneLine(s.Bot.Password))}
			n.from["sasl"] = "botConfig.username, botConfig.password, sasl"
		} else {
			set.Password, n.from["password"] = config.Secret(oneLine(s.Bot.Password)), "botConfig.password; the connections of users send it too"
			c.about(n, "botConfig.password", "was sent by the bot alone, as PASS; now all connections send it: use sasl, if the network has it")
		}
	}
	if s.SASL && s.Password != "" {
		c.about(n, "password", "was used for SASL by all connections; now it is sent as PASS, and each user logs in by storepass or certfp")
	}
}

// names takes the templates over, by which rooms and virtual users keep their names.
func (c *Config) names(n *Network, s *server) {
	set := &n.Settings
	here := strings.NewReplacer("$SERVER", n.Domain, "$CHANNEL", "{channel}", "$NICK", "{nick}")
	alias := here.Replace(strings.TrimPrefix(or(s.Dynamic.Alias, "#irc_$SERVER_$CHANNEL"), "#"))
	user := here.Replace(strings.TrimPrefix(or(s.Ghosts.User, "@$SERVER_$NICK"), "@"))
	switch before, after, ok := strings.Cut(alias, "{channel}"); {
	case !ok || before == "" || strings.Contains(after, "{channel}") || strings.ContainsAny(before+after, "{}:# "):
		c.about(n, "dynamicChannels.aliasTemplate", "%q would claim names that are not the bridge's alone; new rooms get other aliases, and those that exist stay", or(s.Dynamic.Alias, ""))
	default:
		set.Alias, n.from["alias"] = alias, "dynamicChannels.aliasTemplate"
	}
	switch before, after, ok := strings.Cut(user, "{nick}"); {
	case !ok || before == "" || strings.Contains(after, "{nick}") || !matrix.ValidLocalpart(before+after):
		c.about(n, "matrixClients.userTemplate", "%q cannot be used: the virtual users get other IDs", or(s.Ghosts.User, ""))
	default:
		set.User, n.from["user"] = user, "matrixClients.userTemplate"
	}
	display := strings.NewReplacer("$SERVER", n.Domain, "$NICK", "{nick}").Replace(oneLine(or(s.Ghosts.Display, "$NICK")))
	if strings.Count(display, "{nick}") == 1 && !strings.ContainsAny(strings.Replace(display, "{nick}", "", 1), "{}") {
		set.DisplayName, n.from["display_name"] = display, "matrixClients.displayName"
	} else {
		c.about(n, "matrixClients.displayName", "%q has no place for the nick, or two", display)
	}
	nick := or(s.Clients.Nick, "M-$DISPLAY")
	made := strings.NewReplacer("$DISPLAY", "{display}", "$LOCALPART", "{localpart}", "$USERID", "{mxid}").Replace(nick)
	if strings.ContainsAny(nick, "{}") || oneLine(made) != made || made == "" {
		c.about(n, "ircClients.nickTemplate", "%q cannot be used; nicks are made of the localpart", nick)
	} else {
		set.Nick, n.from["nick"] = made, "ircClients.nickTemplate"
	}
	if s.Clients.Realname != "" && s.Clients.Realname != "mxid" {
		c.about(n, "ircClients.realnameFormat", "real names begin with the Matrix ID as it is")
	}
}

func (c *Config) clients(n *Network, s *server) {
	set := &n.Settings
	set.MaxConnections, n.from["max_connections"] = clamp(deref(s.Clients.Max, 30), 1, maxConnections), "ircClients.maxClients"
	if deref(s.Clients.Max, 30) == 0 {
		set.MaxConnections, n.from["max_connections"] = maxConnections, "ircClients.maxClients, which has no limit"
	} else {
		set.MakeRoom, n.from["make_room"] = config.Duration(time.Minute), "ircClients.maxClients: who was silent for longest gives way"
	}
	set.MaxLines, n.from["max_lines"] = clamp(deref(s.Clients.Lines, 3), 1, 1000), "ircClients.lineLimit"
	interval := time.Duration(clamp(deref(s.Clients.Interval, 5000), 0, 60_000)) * time.Millisecond
	set.ConnectInterval, n.from["connect_interval"] = config.Duration(interval), "ircClients.reconnectIntervalMs"
	mirrored := s.Members.Enabled && s.Members.Global.ToIRC.Incremental
	if idle := clamp(deref(s.Clients.Idle, 172_800), 0, 10*365*86_400); !mirrored {
		set.IdleTimeout, n.from["idle_timeout"] = config.Duration(time.Duration(idle)*time.Second), "ircClients.idleTimeout"
	}
	if prefix := s.Clients.IPv6.Prefix; prefix != "" {
		addr, err := netip.ParseAddr(prefix)
		if err == nil && addr.Is6() && !addr.Is4In6() && addr.Zone() == "" && netip.PrefixFrom(addr, 64).Masked().Addr() == addr {
			set.IPv6Prefix, n.from["ipv6_prefix"] = netip.PrefixFrom(addr, 64).String(), "ircClients.ipv6.prefix"
			c.about(n, "ircClients.ipv6.prefix", "is taken for a prefix of 64 bits; those who have an address keep it")
		} else {
			c.about(n, "ircClients.ipv6.prefix", "%q is not a prefix of 64 bits; set ipv6_prefix by hand", prefix)
		}
	}
	power := set.PowerLevels
	for mode, level := range map[string]*int{"q": &power.Owner, "a": &power.Admin, "o": &power.Op, "h": &power.HalfOp, "v": &power.Voice} {
		if theirs, ok := s.Power[mode]; ok {
			*level = clamp(theirs, 0, 99)
		}
	}
	if power.Owner >= power.Admin && power.Admin >= power.Op && power.Op >= power.HalfOp && power.HalfOp >= power.Voice {
		set.PowerLevels, n.from["power_levels"] = power, "modePowerMap"
	} else {
		c.about(n, "modePowerMap", "gives a lower status more power than a higher one; the defaults are used")
	}
}

func (c *Config) members(n *Network, s *server) {
	set := &n.Settings
	set.DirectMessages, n.from["direct_messages"] = "all", "privateMessages.enabled"
	if s.Private.Enabled != nil && !*s.Private.Enabled {
		set.DirectMessages = "none"
	}
	set.Published, n.from["published"] = deref(s.Dynamic.Published, true) && s.Dynamic.Directory, "dynamicChannels.published, useHomeserverDirectory"
	if s.Dynamic.Enabled && deref(s.Dynamic.Published, true) && !s.Dynamic.Directory {
		c.about(n, "dynamicChannels.published", "new rooms were listed in a directory of the network's own, which does not exist here; they are in the homeserver's with published: true")
	}
	set.Portals, n.from["portals"] = s.Dynamic.Enabled, "dynamicChannels.enabled"
	if set.Portals && !deref(s.Dynamic.CreateAlias, true) {
		set.Portals, n.from["portals"] = false, "dynamicChannels.createAlias"
		c.about(n, "dynamicChannels.createAlias", "a channel's room always has an alias: there are no new rooms, unless you set portals: true")
	}
	if set.Portals && s.Dynamic.JoinRule == "invite" {
		set.Portals, n.from["portals"] = false, "dynamicChannels.joinRule"
		c.about(n, "dynamicChannels.joinRule", "a channel's room is open, unless the channel is not: there are no new rooms, unless you set portals: true")
	}
	if !s.Members.Enabled || !s.Members.Global.ToMatrix.Incremental || !s.Members.Global.ToIRC.Incremental {
		c.about(n, "membershipLists", "members are always kept in step, both ways: there will be more virtual users and more connections than before; see lazy_members, idle_timeout and max_connections")
	}
	if !s.Members.Global.ToMatrix.Required {
		c.about(n, "membershipLists.global.ircToMatrix.requireMatrixJoined", "rooms are for those who are in the channel, and what was said before somebody came they cannot read, unless you set history: shared, which the network should agree with")
	}
}

func (c *Config) mappings(n *Network, s *server) {
	for _, channel := range slices.Sorted(maps.Keys(s.Mappings)) {
		m := s.Mappings[channel]
		name := "mappings." + channel
		if !validChannel(channel) {
			c.about(n, name, "is not a channel")
			continue
		}
		one := config.IRCMapping{Channel: channel, Key: config.Secret(oneLine(m.Key))}
		if len(m.Rooms) > 0 {
			if _, err := matrix.ParseRoomID(m.Rooms[0]); err != nil {
				c.about(n, name, "%q is not a room", m.Rooms[0])
				continue
			}
			one.Room = m.Rooms[0]
		}
		for _, room := range m.Rooms[min(len(m.Rooms), 1):] {
			c.about(n, name, "a channel has one room: %s is no longer bridged", room)
		}
		n.Settings.Mappings, n.from["mappings"] = append(n.Settings.Mappings, one), "mappings"
	}
}

// Fold is how the store there folds names.
func Fold(name string) string { return names.RFC1459.Fold(strings.ToLower(name)) }

func validChannel(name string) bool {
	return len(name) > 1 && len(name) <= 200 && strings.ContainsRune("#&+!", rune(name[0])) && !strings.ContainsAny(name, " ,\a") && oneLine(name) == name
}

// simple is a regular expression of user IDs that says no more than a glob can.
var simple = regexp.MustCompile(`^\^?((?:\.\*|\.|\\[.\-+]|[A-Za-z0-9_=/@:-])+)\$?$`)

// globs are the parts of such an expression.
var globs = strings.NewReplacer(".*", "*", ".", "?", `\.`, ".", `\-`, "-", `\+`, "+")

// banOf makes a line of a ban file of a regular expression.
func banOf(expression string) (line string, ok bool) {
	found := simple.FindStringSubmatch(expression)
	if found == nil {
		return "", false
	}
	glob := globs.Replace(found[1])
	if !strings.HasPrefix(expression, "^") && !strings.HasPrefix(glob, "@") {
		glob = "*" + glob
	}
	if !strings.HasSuffix(expression, "$") && !strings.HasSuffix(glob, "*") {
		glob += "*" // it matches what begins so
	}
	return "user " + glob, strings.Trim(glob, "*?@:") != ""
}

func joinHost(host string, port int) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

func or(text *string, fallback string) string { return deref(text, fallback) }

func deref[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}

func clamp(n, low, high int) int { return min(max(n, low), high) }

// oneLine is the text without control characters, which no setting may have.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
}
