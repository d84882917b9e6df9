package irc

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"trestle/bridges/irc/wire"
	"trestle/internal/config"
	"trestle/internal/discovery"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
	"trestle/registration"
)

// ServiceID is the bridge's ID in its registration.
const ServiceID = "irc"

// FromConfig is the bridge as the configuration file has it. The caller adds how the
// homeserver is reached, and what belongs to the process.
func FromConfig(c *config.Config, r *registration.Registration) (Config, error) {
	networks, err := networksOf(c.Bridges.IRC)
	if err != nil {
		return Config{}, err
	}
	links := c.Bridges.IRC.Links
	if links.PublicURL == "" {
		links.PublicURL = c.BaseURL()
	}
	return Config{
		PublicURL: links.PublicURL, LinkLifetime: links.Lifetime.Std(), LinkMaxSize: int64(links.MaxSize), ServerName: c.ServerName,
		ServiceID: r.ID, ASToken: r.ASToken, HSToken: r.HSToken, SenderLocal: r.SenderLocalpart,
		Database: c.Bridges.IRC.Database.Reveal(), Journal: c.InData("irc.journal"), Networks: networks,
		KeyFile: c.InData("irc.keys"), Identd: c.Bridges.IRC.Identd, Control: c.InData(ControlFile), given: c,
		Admins: c.Bridges.IRC.Plumbing.Admins, Provisioning: c.Bridges.IRC.Plumbing.Secret.Reveal(),
		Federation: discovery.NewTransport(discovery.Options{
			Guard: outbound.New(outbound.Options{Allow: config.Ranges(c.Bridges.IRC.Plumbing.AllowAddresses)}),
		}),
	}, nil
}

// networksOf takes the networks that are switched on, in the order of their names.
func networksOf(c config.IRC) ([]Network, error) {
	var networks []Network
	for _, id := range slices.Sorted(maps.Keys(c.Networks)) {
		from := c.Networks[id]
		if !from.Enabled {
			continue
		}
		n := Network{
			ID: id, Name: from.Name, Addr: from.Address, Password: from.Password.Reveal(), BotNick: from.BotNick,
			Nick: from.Nick, Realname: from.Realname, Alias: from.Alias, User: from.User, DisplayName: from.DisplayName,
			Channels: from.Channels, MaxConnections: from.MaxConnections, IdleTimeout: from.IdleTimeout.Std(),
			Flood:      &wire.Flood{Burst: from.FloodBurst, Interval: from.FloodInterval.Std()},
			Scrollback: from.Scrollback, Published: from.Published,
			Power:    &Power{from.PowerLevels.Owner, from.PowerLevels.Admin, from.PowerLevels.Op, from.PowerLevels.HalfOp, from.PowerLevels.Voice},
			Mappings: mappingsOf(from.Mappings), FollowForwards: from.FollowForwards,
			PolicyRooms: from.PolicyRooms, BanFile: from.BanFile,
			Edits: from.Edits, Reactions: from.Reactions, NoTyping: !from.Typing, MaxLines: from.MaxLines, Undelivered: from.Undelivered, Encryption: from.Encryption,
			Direct: Consent(from.DirectMessages), LazyMembers: from.LazyMembers, History: History(from.History), Hold: from.Hold.Std(), Netsplit: from.Netsplit.Std(),
		}
		n.Relay = Relay{Mode: RelayMode(from.Relay), Prefix: from.RelayPrefix, Colors: from.RelayColors, Break: from.RelayBreak}
		n.NoPortals, n.NoPlumbing, n.PlumbPower, n.PlumbWait = !from.Portals, !from.Plumbing, from.PlumbPower, from.PlumbWait.Std()
		n.Servers, n.NickServ, n.Ghost, n.MakeRoom = from.Servers, from.NickServ, from.Ghost, from.MakeRoom.Std()
		n.Icon, n.ExternalURL = from.Icon, from.ExternalURL
		n.Connects = &Pace{Burst: from.ConnectBurst, Interval: from.ConnectInterval.Std()}
		var err error
		if from.IPv6Prefix != "" {
			if n.IPv6Prefix, err = netip.ParsePrefix(from.IPv6Prefix); err != nil {
				return nil, fmt.Errorf("network %q: %w", id, err)
			}
		}
		if n.TLS, err = tlsOf(from); err != nil {
			return nil, fmt.Errorf("network %q: %w", id, err)
		}
		if n.BotCert, err = certOf(from.SASL); err != nil {
			return nil, fmt.Errorf("network %q: %w", id, err)
		}
		switch sasl := from.SASL; sasl.Mechanism {
		case "PLAIN":
			n.BotSASL = func() wire.SASL { return wire.Plain(sasl.Username, sasl.Password.Reveal()) }
		case "EXTERNAL":
			n.BotSASL = wire.External
		}
		networks = append(networks, n)
	}
	return networks, nil
}

func tlsOf(from config.IRCNetwork) (*tls.Config, error) {
	if !from.TLS {
		return nil, nil
	}
	c := &tls.Config{InsecureSkipVerify: !from.TLSVerify}
	if from.CAFile != "" {
		pem, err := os.ReadFile(from.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities: %s holds no certificate", from.CAFile)
		}
	}
	return c, nil
}

func certOf(from config.SASL) (*tls.Certificate, error) {
	if from.Cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(from.Cert, from.Key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &pair, nil
}

// NewRegistration is a registration for the bridge, with fresh tokens: the names that
// its networks' templates claim, and no others.
func NewRegistration(c config.IRC, server matrix.ServerName, url string) (*registration.Registration, error) {
	r := registration.Generate(ServiceID, url, c.BotUser)
	return r, Claim(r, c, server)
}

// Claim sets a registration's namespaces: networks may have come and gone since it was
// made.
func Claim(r *registration.Registration, c config.IRC, server matrix.ServerName) error {
	r.Protocols = []string{"irc"}
	r.ReceiveEphemeral = true // who is typing
	r.DeviceLists, r.DeviceManagement = false, false
	r.Namespaces = registration.Namespaces{}
	for _, id := range slices.Sorted(maps.Keys(c.Networks)) {
		n := c.Networks[id]
		if !n.Enabled {
			continue
		}
		if n.Encryption == "bot" || n.Encryption == "users" {
			r.DeviceLists, r.DeviceManagement = true, true
		}
		named := strings.NewReplacer("{network}", id)
		user, err := claim("@", named.Replace(n.User), "{nick}", server)
		if err != nil {
			return fmt.Errorf("network %q: %w", id, err)
		}
		alias, err := claim("#", named.Replace(n.Alias), "{channel}", server)
		if err != nil {
			return fmt.Errorf("network %q: %w", id, err)
		}
		r.Namespaces.Users = append(r.Namespaces.Users, user)
		r.Namespaces.Aliases = append(r.Namespaces.Aliases, alias)
		for _, m := range n.Mappings {
			if m.Alias == "" {
				continue
			}
			exact, err := registration.NewNamespace(regexp.QuoteMeta(m.Alias), true)
			if err != nil {
				return fmt.Errorf("network %q: %w", id, err)
			}
			r.Namespaces.Aliases = append(r.Namespaces.Aliases, exact)
		}
	}
	return nil
}

// Unclaimed is a name of the networks that a registration does not claim, or empty. Claims that an
// operator has written may be other ones than ours.
func Unclaimed(r *registration.Registration, c config.IRC, server matrix.ServerName) string {
	covered := func(claims []registration.Namespace, name string) bool {
		return slices.ContainsFunc(claims, func(claim registration.Namespace) bool { return claim.Matches(name) })
	}
	for _, id := range slices.Sorted(maps.Keys(c.Networks)) {
		n := c.Networks[id]
		if !n.Enabled {
			continue
		}
		sample := strings.NewReplacer("{network}", id, "{nick}", "nick", "{channel}", "#channel")
		if user := "@" + sample.Replace(n.User) + ":" + string(server); !covered(r.Namespaces.Users, user) {
			return user
		}
		if alias := "#" + sample.Replace(n.Alias) + ":" + string(server); !covered(r.Namespaces.Aliases, alias) {
			return alias
		}
		for _, m := range n.Mappings {
			if m.Alias != "" && !covered(r.Namespaces.Aliases, m.Alias) {
				return m.Alias
			}
		}
	}
	return ""
}

// claim makes the namespace of a template.
func claim(sigil, template, place string, server matrix.ServerName) (registration.Namespace, error) {
	before, after, _ := strings.Cut(template, place)
	regex := sigil + regexp.QuoteMeta(before) + ".+" + regexp.QuoteMeta(after+":"+string(server))
	return registration.NewNamespace(regex, true)
}
