package config_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"trestle/configs"
	"trestle/internal/config"
)

// The sample is documentation, and documentation drifts unless it is held.
func TestSampleIsDefaults(t *testing.T) {
	sample, err := config.Parse("trestle.yaml", configs.Sample)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.Default(); !reflect.DeepEqual(sample, want) {
		t.Errorf("the sample says\n%#v\nbut the defaults are\n%#v", sample, want)
	}
}

// A default that the sample does not mention is a setting that nobody finds.
func TestSampleMentionsEverything(t *testing.T) {
	text := string(configs.Sample)
	var check func(reflect.Type)
	check = func(section reflect.Type) {
		for i := range section.NumField() {
			field := section.Field(i)
			name := field.Tag.Get("yaml")
			if name == "-" {
				continue
			}
			if !strings.Contains(text, name+":") {
				t.Errorf("the sample does not have %s", name)
			}
			for field.Type.Kind() == reflect.Map || field.Type.Kind() == reflect.Slice {
				field.Type = field.Type.Elem()
			}
			if field.Type.Kind() == reflect.Struct {
				check(field.Type)
			}
		}
	}
	check(reflect.TypeFor[config.Config]())
}

func TestDefaultsAreValid(t *testing.T) {
	got, err := config.Parse("trestle.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, config.Default()) {
		t.Error("an empty file is not the defaults")
	}
}

func TestParse(t *testing.T) {
	c, err := config.Parse("trestle.yaml", []byte(`
server_name: example.org:8448
listen: ":8008"
max_body: 2 MiB
shutdown_timeout: 1d
rate_limits:
  send: {per_second: 2.5}
logging:
  # nothing but a comment
media:
  max_upload: 1000000
  thumbnails: []
bridges:
  irc:
    networks:
      oftc:
        address: irc.oftc.net:6697
        tls: true
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerName != "example.org:8448" || !reflect.DeepEqual(c.Listen, []string{":8008"}) {
		t.Errorf("server_name %q, listen %q", c.ServerName, c.Listen)
	}
	if c.MaxBody != 2<<20 || c.ShutdownTimeout.Std() != 24*time.Hour || c.Media.MaxUpload != 1e6 {
		t.Errorf("max_body %s, shutdown_timeout %s, max_upload %s", c.MaxBody, c.ShutdownTimeout, c.Media.MaxUpload)
	}
	if len(c.Media.Thumbnails) != 0 {
		t.Errorf("thumbnails %v", c.Media.Thumbnails)
	}
	if c.RateLimits["send"] != (config.RateLimit{PerSecond: 2.5, Burst: 100}) || len(c.RateLimits) != len(config.Default().RateLimits) {
		t.Errorf("rate limits %v", c.RateLimits)
	}
	want := config.DefaultIRCNetwork()
	want.Address, want.TLS = "irc.oftc.net:6697", true
	if networks := c.Bridges.IRC.Networks; len(networks) != 1 || !reflect.DeepEqual(networks["oftc"], want) {
		t.Errorf("networks %+v", networks)
	}
}

func TestParseNamesTheLine(t *testing.T) {
	network := "bridges: {irc: {networks: {n: {address: 'h:1', %s}}}}"
	cases := []struct{ name, text, want string }{
		{"unknown key", "server_name: a\nlisten_on: b", "trestle.yaml:2: listen_on: there is no such setting"},
		{"typing error", "sever_name: a", "trestle.yaml:1: sever_name: there is no such setting; did you mean server_name?"},
		{"unknown nested key", "media:\n  path: x\n  sizes: 3", "trestle.yaml:3: media.sizes: there is no such setting"},
		{"no secret", "server_name_file: x", "trestle.yaml:1: server_name_file: there is no such setting"},
		{"wrong type", "\n\nlisten: {a: b}", "trestle.yaml:3: listen: wants a list, not a section"},
		{"section wanted", "media: 3", "trestle.yaml:1: media: wants settings of its own"},
		{"number for text", "registration_shared_secret: 12345", "trestle.yaml:1: registration_shared_secret: wants text, not a number; write it in quotes"},
		{"text for bool", "open_registration: maybe", "trestle.yaml:1: open_registration: wants true or false, not text"},
		{"float for int", "passwords:\n  iterations: 1.5", "trestle.yaml:2: passwords.iterations: wants a whole number, not a number"},
		{"list item", "listen:\n  - 127.0.0.1:1\n  - 7", "trestle.yaml:3: listen[1]: wants text, not a number"},
		{"no value", "server_name:\n", "trestle.yaml:1: server_name: has no value"},
		{"twice", "server_name: a\ndata: b\nserver_name: c", "trestle.yaml:3: server_name: is set twice, first in line 1"},
		{"not a mapping", "- a", "trestle.yaml:1: wants settings of its own"},
		{"syntax", "a: b\n  c: d\n", "trestle.yaml:2: mapping values are not allowed"},
		{"syntax at the end", "listen: [", "trestle.yaml:1: did not find expected node"},
		{"two documents", "data: a\n---\ndata: b", "trestle.yaml:2: a second document"},
		{"alias", "listen: &x [':1']\nfederation_listen: *x", "trestle.yaml:1: listen: anchors and aliases"},
		{"merge", "media: {<<: {path: x}}", "trestle.yaml:1: media: a merge (<<) is not the name of a setting"},
		{"key of another kind", "{[a]: b}", "trestle.yaml:1: a list is not the name of a setting"},
		{"number as key", "7: b", "trestle.yaml:1: 7: there is no such setting"},
		{"size", "max_body: 1 MB1", `trestle.yaml:1: max_body: "1 MB1" is not a size`},
		{"duration", "shutdown_timeout: 5", `trestle.yaml:1: shutdown_timeout: "5" is not a duration`},
		{"negative duration", "shutdown_timeout: -5s", "trestle.yaml:1: shutdown_timeout: \"-5s\" is not a duration"},
		{"nul", `data: "a\0b"`, "trestle.yaml:1: data: may not contain a NUL"},

		{"server name", "server_name: a b", "trestle.yaml:1: server_name: server name \"a b\""},
		{"listen without port", "listen: localhost", `trestle.yaml:1: listen[0]: "localhost" is not host:port`},
		{"listen port", "listen: localhost:70000", `trestle.yaml:1: listen[0]: "localhost:70000" has no port`},
		{"listen socket", "listen: unix:x", `trestle.yaml:1: listen[0]: "unix:x" needs an absolute path`},
		{"listen v6", "listen: '::1:80'", "trestle.yaml:1: listen[0]: \"::1:80\" is not host:port; IPv6"},
		{"cluster on SQLite", "cluster: 10.0.0.1:8010", "trestle.yaml:1: cluster: several processes share a PostgreSQL database"},
		{"cluster everywhere", "database: postgres://h/d\ncluster: 0.0.0.0:8010", `trestle.yaml:2: cluster: "0.0.0.0:8010" is not an address under which`},
		{"cluster address", "database: postgres://h/d\ncluster: here", `trestle.yaml:2: cluster: "here" is not host:port`},
		{"listen nothing", "listen: []", "trestle.yaml:1: listen: needs at least one address"},
		{"listen twice", "listen: ':80'\nfederation_listen:\n- ':80'", "trestle.yaml:3: federation_listen[0]: :80 is in listen[0] already"},
		{"half a certificate", "tls_cert: a", "trestle.yaml:1: tls_cert: tls_cert and tls_key need each other"},
		{"database kind", "database: mysql://x/y", `trestle.yaml:1: database: "mysql" is not a kind of database`},
		{"database without name", "database: postgres://u:secret@h", "trestle.yaml:1: database: wants a URL such as"},
		{"base url", "public_base_url: matrix.org", "trestle.yaml:1: public_base_url: \"matrix.org\" is not a URL"},
		{"proxy", "trusted_proxies: [10.0.0.0/33]", "trestle.yaml:1: trusted_proxies[0]: \"10.0.0.0/33\" is not an address"},
		{"small body", "max_body: 1", "trestle.yaml:1: max_body: must be from 128 KiB"},
		{"token of a service", "registration: {appservice_tokens: [short]}", "trestle.yaml:1: registration.appservice_tokens[0]: must be 32 to 1024"},
		{"token", "registration: {tokens: [a, 'b c']}", "trestle.yaml:1: registration.tokens[1]: must be 1 to 64"},
		{"address without mail", "registration: {email: required}", "registration.email: needs mail.relay"},
		{"relay", "mail: {relay: here, from: a@b.example}", "mail.relay: \"here\" is not host:port"},
		{"sender of mails", "mail: {relay: 'h:25', from: nobody}", "mail.from: \"nobody\" is not an address"},
		{"security of mails", "mail: {security: some}", "mail.security: \"some\" is none of"},
		{"policy's version", "registration: {terms: {p: {languages: {en: {name: P, url: 'https://x.example'}}}}}", "registration.terms.p.version: must be 1 to 255"},
		{"policy's languages", "registration: {terms: {p: {version: '1'}}}", "registration.terms.p.languages: needs at least one"},
		{"policy's document", "registration: {terms: {p: {version: '1', languages: {en: {name: P, url: 'javascript:x'}}}}}", "registration.terms.p.languages.en: needs a name and a url"},
		{"puzzle's secret", "registration: {captcha: {site_key: k}}", "registration.captcha.secret: is needed by site_key"},
		{"bounds of accounts", "accounts: {max_devices: 0}", "accounts.max_devices: must be from 1 to"},
		{"relay of calls", "calls: {turn: {uris: ['https://turn.example.org']}}", `calls.turn.uris[0]: "https://turn.example.org" is no URI`},
		{"relay's secret", "calls: {turn: {uris: ['turn:[::1]:3478?transport=udp'], username: u}}", "calls.turn.shared_secret: is needed, or else username and password"},
		{"relay's lifetime", "calls: {turn: {lifetime: 1s}}", "calls.turn.lifetime: must be one minute or more"},
		{"calls of many", "calls: {livekit: [livekit.example.org]}", `calls.livekit[0]: "livekit.example.org" is not a URL`},
		{"members for clients", "well_known: {client: '[]'}", "trestle.yaml:1: well_known.client: is no JSON object"},
		{"server for clients", "well_known: {client: '{\"m.homeserver\": {}}'}", "well_known.client: m.homeserver is what public_base_url says"},
		{"page for people", "well_known: {support_page: help}", `well_known.support_page: "help" is not a URL`},
		{"contact by nothing", "well_known: {contacts: [{}]}", "well_known.contacts[0]: needs a matrix_id or an email"},
		{"contact's user", "well_known: {contacts: [{matrix_id: admin}]}", "well_known.contacts[0].matrix_id: user ID"},
		{"contact's address", "well_known: {contacts: [{email: 'A <a@b.example>'}]}", `well_known.contacts[0].email: "A <a@b.example>" is not an address`},
		{"contact's role", "well_known: {contacts: [{email: a@b.example, role: ''}]}", "well_known.contacts[0].role: is empty"},
		{"server for servers", "well_known: {server: 'https://matrix.example.org'}", "well_known.server: server name"},
		{"servers", "federation: {deny_servers: ['*.example.org', 'example.org:8448']}", `federation.deny_servers[1]: "example.org:8448" is not a server's name`},
		{"addresses of servers", "federation: {allow_addresses: [example.org]}", `federation.allow_addresses[0]: "example.org" is not an address`},
		{"an old key's parts", "federation: {old_signing_keys: ['ed25519:1 x']}", "federation.old_signing_keys[0]: wants an ID, a public key and a day"},
		{"an old key's ID", "federation: {old_signing_keys: ['ed25519:a-b 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo 2026-01-31']}", `federation.old_signing_keys[0]: "ed25519:a-b" is not the ID`},
		{"an old key", "federation: {old_signing_keys: ['ed25519:1 c2hvcnQ 2026-01-31']}", `federation.old_signing_keys[0]: "c2hvcnQ" is no ed25519 key`},
		{"an old key's day", "federation: {old_signing_keys: ['ed25519:1 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo 2026-02-31']}", `federation.old_signing_keys[0]: "2026-02-31" is no day`},
		{"key server", "federation: {trusted_key_servers: ['https://matrix.org']}", "federation.trusted_key_servers[0]: server name"},
		{"delay", "delayed_events: {max_delay: 9000h}", "delayed_events.max_delay: must be from 0s to 366d"},
		{"delayed events", "delayed_events: {max_per_user: 0}", "delayed_events.max_per_user: must be from 1"},
		{"policy server", "policy_server_key: c2hvcnQ", `policy_server_key: "c2hvcnQ" is no ed25519 key`},
		{"hash", "passwords:\n  hash: md5", `trestle.yaml:2: passwords.hash: "md5" is none of argon2id, bcrypt`},
		{"room version", "rooms:\n  default_version: '13'", `trestle.yaml:2: rooms.default_version: "13" is none of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12`},
		{"thumbnail", "media:\n  thumbnails:\n    - {width: 1, height: 1, method: scale}\n    - {width: 0, height: 1, method: crop}", "trestle.yaml:4: media.thumbnails[1].width: must be from 1"},
		{"thumbnail key", "media: {thumbnails: [{wdth: 1}]}", "trestle.yaml:1: media.thumbnails[0].wdth: there is no such setting; did you mean width?"},
		{"bucket", "rate_limits:\n  sent: {burst: 1}", "trestle.yaml:2: rate_limits.sent: there is no such setting; known are create, default"},
		{"rate", "rate_limits:\n  send: {per_second: 0}", "trestle.yaml:2: rate_limits.send.per_second: must be above 0"},
		{"no rate", "rate_limits:\n  send: {per_second: .nan}", "trestle.yaml:2: rate_limits.send.per_second: wants a number"},
		{"level", "logging: {level: loud}", `trestle.yaml:1: logging.level: "loud" is none of`},
		{"metrics path", "metrics: {path: /_matrix/x}", "trestle.yaml:1: metrics.path:"},

		{"network name", "bridges: {irc: {networks: {a_b: {address: 'h:1'}}}}", "trestle.yaml:1: bridges.irc.networks.a_b: a network's name is made of"},
		{"no address", "bridges:\n  irc:\n    networks:\n      n: {tls: true}", `trestle.yaml:4: bridges.irc.networks.n.address: "" is not host:port`},
		{"nick", fmt.Sprintf(network, "bot_nick: '1x'"), `bridges.irc.networks.n.bot_nick: "1x" is not a nick`},
		{"template word", fmt.Sprintf(network, "nick: '{name}'"), "bridges.irc.networks.n.nick: {name} is not known here; known are {localpart}"},
		{"template brace", fmt.Sprintf(network, "nick: 'x{'"), "bridges.irc.networks.n.nick: has a brace without its partner"},
		{"template without channel", fmt.Sprintf(network, "alias: 'irc_{network}'"), "bridges.irc.networks.n.alias: must have {channel} in it"},
		{"template colon", fmt.Sprintf(network, "alias: 'irc:{channel}'"), "bridges.irc.networks.n.alias: is the part of an alias between # and :"},
		{"template of everything", fmt.Sprintf(network, "user: '{nick}'"), "bridges.irc.networks.n.user: would claim every name"},
		{"channel", fmt.Sprintf(network, "channels: ['#a', '#b,#c']"), `bridges.irc.networks.n.channels[1]: "#b,#c" is not a channel`},
		{"log's host", fmt.Sprintf(network, "external_url: 'https://{name}.example/'"), "bridges.irc.networks.n.external_url: "},
		{"log's scheme", fmt.Sprintf(network, "external_url: 'javascript:{channel}'"), "bridges.irc.networks.n.external_url: "},
		{"log's words", fmt.Sprintf(network, "external_url: 'https://a.example/{nick}'"), "bridges.irc.networks.n.external_url: "},
		{"power", fmt.Sprintf(network, "power_levels: {op: 100}"), "bridges.irc.networks.n.power_levels.op: "},
		{"power order", fmt.Sprintf(network, "power_levels: {op: 20}"), "bridges.irc.networks.n.power_levels.half_op: is worth more than a higher status"},
		{"mapped channel", fmt.Sprintf(network, "mappings: [{channel: 'a b'}]"), `bridges.irc.networks.n.mappings[0].channel: "a b" is not a channel`},
		{"mapped key", fmt.Sprintf(network, "mappings: [{channel: '#a', key: 'x,y'}]"), "bridges.irc.networks.n.mappings[0].key: is not a key that IRC knows"},
		{"mapped alias", fmt.Sprintf(network, "mappings: [{channel: '#a', alias: 'a'}]"), `bridges.irc.networks.n.mappings[0].alias: "a" is not a room's alias`},
		{"mapped room", fmt.Sprintf(network, "mappings: [{channel: '#a', room: 'a'}]"), `bridges.irc.networks.n.mappings[0].room: "a" is neither`},
		{"policy room", fmt.Sprintf(network, "policy_rooms: [rules]"), `bridges.irc.networks.n.policy_rooms[0]: "rules" is neither`},
		{"user ID", fmt.Sprintf(network, "user: 'IRC_{nick}'"), "bridges.irc.networks.n.user: has characters that a user ID cannot have"},
		{"servers", fmt.Sprintf(network, "servers: ['a:1', 'b']"), `bridges.irc.networks.n.servers[1]: "b" is not host:port`},
		{"prefix", fmt.Sprintf(network, "ipv6_prefix: '2001:db8::1/64'"), "bridges.irc.networks.n.ipv6_prefix: \"2001:db8::1/64\" is not an IPv6 prefix"},
		{"old prefix", fmt.Sprintf(network, "ipv6_prefix: '192.0.2.0/24'"), "bridges.irc.networks.n.ipv6_prefix: "},
		{"services", fmt.Sprintf(network, "nickserv: 'NickServ PRIVMSG'"), "bridges.irc.networks.n.nickserv: "},
		{"pace", fmt.Sprintf(network, "connect_interval: 2m"), "bridges.irc.networks.n.connect_interval: is longer"},
		{"identd", "bridges: {irc: {identd: '113'}}", `bridges.irc.identd: "113" is not host:port`},
		{"line feed", fmt.Sprintf(network, `password: "a\nQUIT"`), "bridges.irc.networks.n: name and password must be one line"},
		{"sasl plain", fmt.Sprintf(network, "sasl: {mechanism: PLAIN}"), "bridges.irc.networks.n.sasl: PLAIN needs username and password"},
		{"sasl external", fmt.Sprintf(network, "sasl: {mechanism: EXTERNAL}"), "bridges.irc.networks.n.sasl: EXTERNAL needs tls"},
		{"same names", "bridges: {irc: {networks: {a: {address: 'h:1', alias: 'irc_{channel}'}, b: {address: 'h:1', alias: 'irc_{channel}'}}}}", "bridges.irc.networks.b.alias: means the same names as bridges.irc.networks.a.alias"},
		{"same users", "bridges: {irc: {networks: {a: {address: 'h:1', user: 'irc_{nick}'}, b: {address: 'h:1', user: 'irc_b_{nick}'}}}}", "bridges.irc.networks.b.user: can mean the same users as bridges.irc.networks.a.user"},
		{"bot on IRC", "bridges: {irc: {bot_user: irc_=5bot, networks: {a: {address: 'h:1', user: 'irc_{nick}'}}}}", "bridges.irc.bot_user: could be somebody on IRC, by bridges.irc.networks.a.user"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Parse("/etc/trestle/trestle.yaml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// All problems at once, in the order of the file.
func TestParseNamesEveryProblem(t *testing.T) {
	_, err := config.Parse("t.yaml", []byte("max_body: 1\nnonsense: 1\nlogging: {level: loud}\nopen_registration: 3\n"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, prefix := range []string{"t.yaml:1: max_body", "t.yaml:2: nonsense", "t.yaml:3: logging.level", "t.yaml:4: open_registration"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], prefix) {
			t.Errorf("problem %d is not about %s:\n%s", i, prefix, err)
		}
	}
}

func TestSecretsStaySecret(t *testing.T) {
	secret := config.Secret("hunter2")
	encoded, _ := json.Marshal(map[string]any{"s": secret})
	for _, text := range []string{
		fmt.Sprint(secret), fmt.Sprintf("%v %+v %#v %s %q", secret, secret, secret, secret, secret),
		fmt.Sprintf("%v", config.Config{RegistrationSharedSecret: secret}), string(encoded), secret.LogValue().String(),
	} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("a secret shows: %s", text)
		}
	}
	if secret.Reveal() != "hunter2" {
		t.Error("Reveal does not reveal")
	}
}

func TestBaseURL(t *testing.T) {
	cases := []struct {
		config config.Config
		want   string
	}{
		{config.Config{PublicBaseURL: "https://m.example.org/", Listen: []string{":1"}}, "https://m.example.org"},
		{config.Config{Listen: []string{"unix:/x", "127.0.0.1:8008"}}, "http://127.0.0.1:8008"},
		{config.Config{Listen: []string{":8008"}}, "http://localhost:8008"},
		{config.Config{Listen: []string{"[::]:8008"}}, "http://localhost:8008"},
		{config.Config{Listen: []string{"[::1]:8008"}}, "http://[::1]:8008"},
		{config.Config{ServerName: "example.org", Listen: []string{"unix:/x"}}, "https://example.org"},
	}
	for _, c := range cases {
		if got := c.config.BaseURL(); got != c.want {
			t.Errorf("BaseURL of %v is %s, not %s", c.config.Listen, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(configs.Sample)
	f.Add([]byte("listen: &a [*a]\n"))
	f.Add([]byte("a: b\n---\nc"))
	f.Add([]byte("bridges: {irc: {networks: {x: , y: {address: 'h:1', <<: {}}}}}"))
	f.Add([]byte("media: {thumbnails: [3, {width: 1}, null, *x]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("f.yaml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v with error %v", c, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("a problem of the file does not name it: %v", err)
		}
	})
}
