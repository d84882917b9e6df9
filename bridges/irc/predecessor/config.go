package predecessor

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"trestle/bridges/irc/names"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// MaxConfig bounds a configuration file, in bytes.
const MaxConfig = 4 << 20

// maxNetworks bounds how many networks one configuration may have.
const maxNetworks = 1000

// A Config is what a configuration of matrix-appservice-irc says, in our terms.
type Config struct {
	ServerName matrix.ServerName
	Database   string // its store: postgres://…, or nedb://…
	Passkey    string // file with the key to its users' passwords, as it is written there
	Identd     string
	Networks   []*Network // by their domains
	Notes      []Note     // what could not be carried over as it was
}

// A Network is one of ircService.servers.
type Network struct {
	Domain      string // as its store calls the network
	ID          string // as we do
	Settings    config.IRCNetwork
	SASL        bool     // users logged in by it
	Authorities string   // certificates, PEM, that belong into Settings.CAFile
	Bans        []string // lines that belong into Settings.BanFile

	from map[string]string // our keys, and the ones there that they were made of
}

// A Note says what will not be as it was.
type Note struct{ About, Reason string }

// String is one line.
func (n Note) String() string { return n.About + ": " + n.Reason }

// Parse reads a configuration file. It fails where there is nothing to go on with; everything else
// that is odd becomes a note.
func Parse(text []byte) (*Config, error) {
	if len(text) > MaxConfig {
		return nil, fmt.Errorf("the file is longer than %d bytes", MaxConfig)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	var theirs document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&theirs); err != nil {
		return nil, err
	}
	c := &Config{ServerName: matrix.ServerName(theirs.Homeserver.Domain), Passkey: theirs.Service.Passkey}
	if _, err := matrix.ParseServerName(theirs.Homeserver.Domain); err != nil {
		return nil, fmt.Errorf("homeserver.domain: %w", err)
	}
	if len(theirs.Service.Servers) == 0 {
		return nil, errors.New("ircService.servers: there is no network")
	}
	if len(theirs.Service.Servers) > maxNetworks {
		return nil, errors.New("ircService.servers: there are too many networks")
	}
	c.Database = cmp.Or(theirs.Database.Connection, theirs.Service.Database)
	if ident := theirs.Service.Ident; ident.Enabled {
		c.Identd = joinHost(cmp.Or(ident.Address, "0.0.0.0"), cmp.Or(ident.Port, 113))
	}
	taken := map[string]bool{}
	for _, domain := range slices.Sorted(maps.Keys(theirs.Service.Servers)) {
		s := theirs.Service.Servers[domain]
		if s == nil {
			s = &server{}
		}
		n := c.network(domain, s, taken)
		n.Settings.PolicyRooms, n.from["policy_rooms"] = theirs.Service.BanLists.Rooms, "banLists.rooms"
		n.Settings.Plumbing, n.from["plumbing"] = theirs.Service.Provisioning.Enabled, "provisioning.enabled"
		c.Networks = append(c.Networks, n)
	}
	c.leftOut(&root)
	slices.SortStableFunc(c.Notes, func(a, b Note) int { return strings.Compare(a.About, b.About) })
	return c, nil
}

func (c *Config) note(about, format string, args ...any) {
	c.Notes = append(c.Notes, Note{about, fmt.Sprintf(format, args...)})
}

// Network is the one that the store calls by a domain, or nil.
func (c *Config) Network(domain string) *Network {
	for _, n := range c.Networks {
		if n.Domain == domain {
			return n
		}
	}
	return nil
}

// Whose is the network of what a user has told the bridge. The script that moves the store from NeDB writes the domains
// there as NeDB had them, with "_" for each dot; exact is false then.
func (c *Config) Whose(domain string) (n *Network, exact bool) {
	if n := c.Network(domain); n != nil {
		return n, true
	}
	for _, one := range c.Networks {
		if strings.ReplaceAll(one.Domain, ".", "_") != domain {
			continue
		}
		if n != nil {
			return nil, false // nobody knows which
		}
		n = one
	}
	return n, false
}

// Templates are where a network's names stand: localparts with one place for a name.
func (n *Network) templates() (alias, user string) {
	named := strings.NewReplacer("{network}", n.ID)
	return named.Replace(n.Settings.Alias), named.Replace(n.Settings.User)
}

// Nick is the nick of one of its virtual users, as it is written in the ID.
func (n *Network) Nick(user matrix.UserID, server matrix.ServerName) (nick string, ok bool) {
	_, template := n.templates()
	before, after, _ := strings.Cut(template, "{nick}")
	local := user.Localpart()
	if user.Server() != server || len(local) <= len(before)+len(after) || !strings.HasPrefix(local, before) || !strings.HasSuffix(local, after) {
		return "", false
	}
	nick = local[len(before) : len(local)-len(after)]
	if unescaped, ok := names.UnescapeNick(nick); ok {
		nick = unescaped
	}
	return nick, validNick(nick)
}

// validNick is generous: some networks allow more than others.
func validNick(nick string) bool {
	return nick != "" && len(nick) <= 200 && !strings.ContainsAny(nick, " ,*?!@\x00") && !strings.ContainsRune("#&+:$", rune(nick[0])) && oneLine(nick) == nick
}

var networkID = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,31}$`)

// id is what we call a network: its ID there if it can be ours, or else its domain.
func id(domain, theirs string, taken map[string]bool) string {
	for _, candidate := range []string{theirs, strings.ToLower(theirs), strings.ToLower(domain)} {
		if networkID.MatchString(candidate) && !taken[candidate] {
			taken[candidate] = true
			return candidate
		}
	}
	for i := 1; ; i++ {
		if candidate := fmt.Sprintf("network%d", i); !taken[candidate] {
			taken[candidate] = true
			return candidate
		}
	}
}
