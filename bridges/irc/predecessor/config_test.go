package predecessor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
)

const theirs = `
homeserver:
  url: http://localhost:8008
  domain: example.org
database: {engine: postgres, connectionString: "postgres://irc@db/irc"}
ircService:
  passwordEncryptionKeyPath: passkey.pem
  ident: {enabled: true, port: 1113}
  banLists: {rooms: ["#rules:example.org"]}
  logging: {level: debug}
  provisioning: {enabled: true, secret: hush}
  servers:
    irc.harbour.example:
      name: Harbour
      networkId: harbour
      icon: "mxc://example.org/anchor"
      ssl: true
      sslselfsign: true
      sasl: true
      additionalAddresses: [irc2.harbour.example]
      tlsOptions: {ca: ["-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"]}
      modePowerMap: {o: 60, v: 2}
      botConfig: {nick: Pilot, password: "pa: ss", username: helm}
      privateMessages: {enabled: false}
      dynamicChannels: {enabled: true, published: true, useHomeserverDirectory: true, aliasTemplate: "#harbour_$CHANNEL", federate: true, exclude: ["#Staff", "#a[b]", "no"], whitelist: ["@alice:example.org"]}
      mappings:
        "#quay": {roomIds: ["!quay:example.org", "!second:example.org"], key: "k"}
        "#old": ["!old:example.org"]
      excludedUsers: [{regex: "@.*:evil\\.example"}, {regex: "^@(a|b):x$"}]
      membershipLists:
        enabled: true
        global: {ircToMatrix: {initial: true, incremental: true, requireMatrixJoined: true}, matrixToIrc: {initial: true, incremental: true}}
      matrixClients: {userTemplate: "@harbour_$NICK", displayName: "$NICK (IRC)"}
      ircClients:
        nickTemplate: "$DISPLAY[m]"
        maxClients: 500
        idleTimeout: 3600
        lineLimit: 5
        reconnectIntervalMs: 250
        ipv6: {prefix: "2001:db8:1:2::"}
    irc.small.example:
      dynamicChannels: {aliasTemplate: $CHANNEL}
`

func TestAConfigurationBecomesOurs(t *testing.T) {
	c, err := Parse([]byte(theirs))
	if err != nil {
		t.Fatal(err)
	}
	files := c.Files(nil)
	text, err := c.YAML("appservice-irc")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	ours, err := config.Parse("ours", text)
	if err != nil {
		t.Fatal(err)
	}
	if ours.ServerName != "example.org" || ours.Bridges.IRC.BotUser != "appservice-irc" || ours.Bridges.IRC.Identd != "0.0.0.0:1113" || len(ours.Bridges.IRC.Networks) != 2 {
		t.Errorf("the whole is\n%s", text)
	}
	want := config.DefaultIRCNetwork()
	want.Name, want.Address, want.Servers = "Harbour", "irc.harbour.example:6697", []string{"irc2.harbour.example:6697"}
	want.TLS, want.TLSVerify, want.CAFile = true, false, "irc-ca-harbour.pem"
	want.PowerLevels = config.IRCPower{Owner: 90, Admin: 75, Op: 60, HalfOp: 25, Voice: 2}
	want.MakeRoom, want.Icon, want.Published = config.Duration(time.Minute), "mxc://example.org/anchor", true
	want.BotNick, want.SASL = "Pilot", config.SASL{Mechanism: "PLAIN", Username: "helm", Password: "pa: ss"}
	want.DirectMessages, want.Alias, want.User, want.DisplayName, want.Nick = "none", "harbour_{channel}", "harbour_{nick}", "{nick} (IRC)", "{display}[m]"
	want.Mappings = []config.IRCMapping{{Channel: "#old", Room: "!old:example.org"}, {Channel: "#quay", Room: "!quay:example.org", Key: "k"}}
	want.MaxConnections, want.MaxLines, want.IPv6Prefix = 500, 5, "2001:db8:1:2::/64"
	want.ConnectInterval, _ = config.ParseDuration("250ms")
	want.PolicyRooms, want.BanFile = []string{"#rules:example.org"}, "irc-bans-harbour"
	if different := config.Differences(want, ours.Bridges.IRC.Networks["harbour"]); len(different) > 0 {
		t.Errorf("%v are not as expected in\n%s", different, text)
	}
	if small := ours.Bridges.IRC.Networks["irc.small.example"]; small.Address != "irc.small.example:6667" || small.Alias != want.Alias[:0]+"irc_{network}_{channel}" ||
		small.User != "irc.small.example_{nick}" || small.Nick != "M-{display}" || small.IdleTimeout.String() != "2d" || small.MaxLines != 3 || small.Portals {
		t.Errorf("what says nothing becomes %+v", small)
	}
	if got := string(files["irc-bans-harbour"]); !strings.Contains(got, "\nuser @*:evil.example*\n") || strings.Contains(got, "(") {
		t.Errorf("the bans are %q", got)
	}
	if got := string(files["irc-bans-harbour"]); !strings.HasSuffix(got, "\nroom #harbour_#staff:example.org\nroom #harbour_#a{b}:example.org\nroom #harbour_#a[b]:example.org\n") {
		t.Errorf("the bans are %q", got)
	}
	if got := string(files["irc-ca-harbour.pem"]); strings.Count(got, "-----BEGIN CERTIFICATE-----\n") != 2 || strings.Count(got, "-----END CERTIFICATE-----\n") != 2 {
		t.Errorf("the authorities are %q", got)
	}
	about := make([]string, len(c.Notes))
	for i, n := range c.Notes {
		about[i] = n.About
	}
	for _, want := range []string{
		"ircService.logging.level", "homeserver.url", "ircService.servers.irc.harbour.example.mappings.#quay", "ircService.servers.irc.harbour.example.excludedUsers",
		"ircService.servers.irc.harbour.example.dynamicChannels.federate",
		"ircService.servers.irc.harbour.example.dynamicChannels.whitelist", "ircService.servers.irc.harbour.example.dynamicChannels.exclude", "ircService.servers.irc.small.example.dynamicChannels.aliasTemplate",
	} {
		if !slices.Contains(about, want) {
			t.Errorf("there is no note about %s among %v", want, about)
		}
	}
	if slices.Contains(about, "ircService.servers.irc.harbour.example.ssl") {
		t.Error("what is carried over is said not to be")
	}
}

// What a setting means that is not there, or is there with a meaning of its own.
func TestSettingsMeanWhatTheyMeantThere(t *testing.T) {
	of := func(provisioning, server string) (config.IRCNetwork, []Note) {
		t.Helper()
		c, err := Parse([]byte("homeserver: {domain: example.org}\nircService:\n  provisioning: " + provisioning + "\n  servers:\n    irc.example.org: " + server + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Networks[0].Settings, c.Notes
	}
	about := func(notes []Note, key string) bool {
		return slices.ContainsFunc(notes, func(n Note) bool { return n.About == "ircService.servers.irc.example.org."+key })
	}
	n, notes := of("{}", "{dynamicChannels: {enabled: true}, ircClients: {maxClients: 0}, botConfig: {password: secret}, sasl: true}")
	if n.Address != "irc.example.org:6667" || n.MaxConnections != maxConnections || n.MakeRoom != 0 || n.SASL.Username != "matrixbot" || !n.Portals || n.Plumbing {
		t.Errorf("what is not there: %+v", n)
	}
	// Rooms were listed where only the bridge's own directory has them.
	if n.Published || !about(notes, "dynamicChannels.published") {
		t.Errorf("published, with the notes %v", notes)
	}
	if n, _ := of("{enabled: true}", "{ssl: true, icon: 'https://example.org/a.png'}"); n.Address != "irc.example.org:6697" || !n.Plumbing || n.Icon != "" {
		t.Errorf("a network with TLS: %+v", n)
	}
	for key, server := range map[string]string{
		"dynamicChannels.createAlias": "{dynamicChannels: {enabled: true, createAlias: false}}",
		"dynamicChannels.joinRule":    "{dynamicChannels: {enabled: true, joinRule: invite, whitelist: ['@a:b']}}",
	} {
		if n, notes := of("{}", server); n.Portals || !about(notes, key) {
			t.Errorf("%s lets everybody open channels, with the notes %v", server, notes)
		}
	}
	c, err := Parse([]byte("homeserver: {domain: b}\nircService: {servers: {irc.a.org: {}, irc.a_org: {}, irc.c.org: {}}}"))
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{"irc.c.org": "irc.c.org", "irc_c_org": "irc.c.org", "irc_a_org": "", "irc.a_org": "irc.a_org", "irc.d.org": ""} {
		found, exact := c.Whose(domain)
		if found == nil && want != "" || found != nil && found.Domain != want || exact != (domain == want) {
			t.Errorf("%s is that of %+v, %v", domain, found, exact)
		}
	}
}

func TestWhatIsNoConfiguration(t *testing.T) {
	for _, text := range []string{
		"", "[]", "homeserver: {domain: example.org}", "homeserver: {domain: 'a b'}\nircService: {servers: {x: {}}}",
		"homeserver: {domain: example.org}\nircService: {servers: []}", "a: &a [*a]",
	} {
		if c, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(theirs)
	f.Add("homeserver: {domain: a}\nircService: {servers: {\"x\\n y\": {name: \"\\0\", port: -1, mappings: {'#a': [x]}, excludedUsers: [{regex: '.'}]}}}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text))
		if err != nil {
			return
		}
		c.Files(nil)
		ours, err := c.YAML(defaultBot)
		if err != nil {
			return // it says what is to be put right
		}
		again, err := config.Parse("ours", ours)
		if err != nil {
			t.Fatalf("%v\n%s", err, ours)
		}
		for _, n := range c.Networks {
			if different := config.Differences(n.Settings, again.Bridges.IRC.Networks[n.ID]); len(different) > 0 {
				t.Errorf("%v of %q are written so that they are read as something else:\n%s", different, n.ID, ours)
			}
		}
	})
}
