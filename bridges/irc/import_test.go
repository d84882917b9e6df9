package irc_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"trestle/bridges/irc"
	"trestle/bridges/irc/predecessor"
	settings "trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/registration"
)

// What matrix-appservice-irc has at version 10 of its schema.
const theirSchema = `
CREATE TABLE schema (version INTEGER UNIQUE NOT NULL);
CREATE TABLE rooms (origin TEXT NOT NULL, room_id TEXT NOT NULL, type TEXT NOT NULL, irc_domain TEXT NOT NULL, irc_channel TEXT NOT NULL, irc_json JSON NOT NULL, matrix_json JSON NOT NULL, CONSTRAINT cons_rooms_unique UNIQUE(room_id, irc_domain, irc_channel));
CREATE TABLE admin_rooms (room_id TEXT UNIQUE, user_id TEXT);
CREATE TABLE pm_rooms (room_id TEXT UNIQUE, irc_domain TEXT NOT NULL, irc_nick TEXT NOT NULL, matrix_user_id TEXT, virtual_user_id TEXT, CONSTRAINT cons_pm_rooms_matrix_irc_unique UNIQUE(matrix_user_id, irc_domain, irc_nick));
CREATE TABLE matrix_users (user_id TEXT UNIQUE, data JSON);
CREATE TABLE client_config (user_id TEXT, domain TEXT NOT NULL, config JSON, password TEXT, CONSTRAINT cons_client_config_unique UNIQUE(user_id, domain), cert TEXT, key TEXT);
CREATE TABLE user_features (user_id TEXT UNIQUE, features JSON);
CREATE TABLE ipv6_counter (count INTEGER, homeserver TEXT, server TEXT NOT NULL);
CREATE TABLE last_seen (user_id TEXT UNIQUE NOT NULL, ts BIGINT NOT NULL);
CREATE TABLE room_visibility (room_id TEXT UNIQUE NOT NULL, visibility BOOLEAN NOT NULL);
CREATE TABLE deactivated_users (user_id TEXT UNIQUE NOT NULL, ts BIGINT NOT NULL);
CREATE TABLE user_activity (user_id TEXT UNIQUE, data JSON);
CREATE TABLE provisioner_sessions (user_id TEXT, token TEXT UNIQUE, expires_ts BIGINT);
INSERT INTO schema VALUES (10);
`

func theirStore(t *testing.T, rows string) (url string) {
	t.Helper()
	url = testkit.Postgres(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), theirSchema+rows); err != nil {
		t.Fatal(err)
	}
	return url
}

// theirTold is what users have told the other bridge: in the clear, and as that has sealed it.
type theirTold struct {
	Password         string // of "correct horse"
	Certificate, Key string // in PEM
	SealedKey        string
	passkey          *predecessor.Passkey
}

func theirSecrets(t *testing.T) theirTold {
	t.Helper()
	raw, err := os.ReadFile("predecessor/testdata/sealed.json")
	if err != nil {
		t.Fatal(err)
	}
	var secrets theirTold
	if err := json.Unmarshal(raw, &secrets); err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile("predecessor/testdata/passkey.pem"); err != nil {
		t.Fatal(err)
	}
	if secrets.passkey, err = predecessor.ParsePasskey(raw); err != nil {
		t.Fatal(err)
	}
	return secrets
}

const (
	theirBob  = "@harbour_Bob:localhost"
	theirGone = "@harbour_Gone[m]:localhost"
	theirBOB  = "@harbour_BOB:localhost"
)

// An inheritance is a community as matrix-appservice-irc leaves it.
type inheritance struct {
	h                    *fakehomeserver.Homeserver
	room, direct, garden string
	certificate          string // frank's, and the key to it
	irc.Import
}

func inherited(t *testing.T, addr, target string) *inheritance {
	t.Helper()
	h := fakehomeserver.New(t)
	i := &inheritance{h: h}
	h.Register(alice, "Alice")
	h.Register(carol, "Carol")
	i.room = h.Room(bot, "#harbour_#quay:localhost")
	for _, ghost := range []string{theirBob, theirGone, theirBOB} {
		existed(t, h, ghost)
	}
	for _, user := range []string{alice, theirBob, theirGone, theirBOB} {
		h.Member(i.room, user, user, "join", "")
	}
	i.garden = plot(h)
	h.Member(i.garden, bot, bot, "join", "")
	i.direct = h.DirectWith(alice, theirBob)
	h.Member(i.direct, theirBob, theirBob, "join", "")
	left := h.DirectWith(carol, theirGone)
	h.Member(left, theirGone, theirGone, "join", "")
	h.Member(left, carol, carol, "leave", "")
	passed(t, h, i.room)

	secrets := theirSecrets(t)
	url := theirStore(t, fmt.Sprintf(`
INSERT INTO rooms VALUES
	('alias', '%[1]s', 'channel', 'irc.harbour.example', '#quay', '{"modes":["n","t"]}', '{"name":"#quay"}'),
	('provision', '!plumbed:localhost', 'channel', 'irc.harbour.example', '#quay', '{}', '{}'),
	('provision', '%[8]s', 'channel', 'irc.harbour.example', '#garden', '{}', '{}'),
	('join', '!else:localhost', 'channel', 'irc.gone.example', '#x', '{}', '{}');
INSERT INTO pm_rooms VALUES
	('%[2]s', 'irc.harbour.example', 'bob', '@alice:localhost', '%[4]s'),
	('%[3]s', 'irc.harbour.example', 'gone{m}', '@carol:localhost', '%[5]s');
INSERT INTO admin_rooms VALUES ('!admin:localhost', '@alice:localhost');
INSERT INTO matrix_users VALUES ('@alice:localhost', NULL), ('%[4]s', '{"localpart":"harbour_Bob"}'), ('%[6]s', '{}'), ('%[5]s', '{}'), ('@harbour_erin:localhost', '{}');
INSERT INTO client_config VALUES
	('@alice:localhost', 'irc.harbour.example', '{"nick":"Captain","ipv6":"2001:db8:1:2::7"}', NULL, NULL, NULL),
	('@dave:localhost', 'irc.harbour.example', '{"username":"davy"}', '%[7]s', NULL, NULL),
	('@heidi:localhost', 'irc_harbour_example', '{"username":"heidi","nick":"Mate"}', '%[7]s', NULL, NULL), -- as the script of theirs moves it from NeDB
	('@dave:localhost', 'irc_harbour_example', '{"username":"dave_of_old","nick":"Old"}', NULL, NULL, NULL),
	('@ivan:localhost', 'irc.harbour.example', '{"username":"ivanlocalh"}', NULL, NULL, NULL), -- which it has made up
	('@erin:localhost', 'irc.harbour.example', NULL, 'bm9uc2Vuc2U=', NULL, NULL),
	('@frank:localhost', 'irc.harbour.example', '{}', NULL, '%[9]s', '%[10]s'),
	('@grace:localhost', 'irc.harbour.example', '{}', NULL, '%[9]s', 'lg:bm9uc2Vuc2U=:bm9uc2Vuc2U=');
INSERT INTO user_features VALUES ('@alice:localhost', '{"features":{"mentions":false},"mentions":true}'), ('@carol:localhost', '{"mentions":false}');
INSERT INTO deactivated_users VALUES ('@mallory:localhost', 1);
`, i.room, i.direct, left, theirBob, theirGone, theirBOB, secrets.Password, i.garden, secrets.Certificate, secrets.SealedKey))
	host, port, _ := net.SplitHostPort(addr)
	theirs, err := predecessor.Parse(fmt.Appendf(nil, `
homeserver: {domain: localhost}
ircService:
  servers:
    irc.harbour.example:
      networkId: harbour
      additionalAddresses: [%q]
      onlyAdditionalAddresses: true
      port: %s
      botConfig: {nick: Pilot}
      dynamicChannels: {enabled: true, aliasTemplate: "#harbour_$CHANNEL"}
      matrixClients: {userTemplate: "@harbour_$NICK"}
      ircClients: {nickTemplate: "$LOCALPART-h", reconnectIntervalMs: 10}
`, host, port))
	if err != nil {
		t.Fatal(err)
	}
	store, err := predecessor.Read(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	i.certificate = secrets.Certificate + secrets.Key
	i.Import = irc.Import{
		Database: target, KeyFile: filepath.Join(t.TempDir(), "irc.keys"), Config: theirs, Store: store, Passkey: secrets.passkey, Logger: slog.New(slog.DiscardHandler),
	}
	return i
}

// existed registers a virtual user, as the other bridge did.
func existed(t *testing.T, h *fakehomeserver.Homeserver, ghost string) {
	t.Helper()
	body := fmt.Sprintf(`{"type":"m.login.application_service","username":%q}`, matrix.UserID(ghost).Localpart())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/_matrix/client/v3/register", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+fakehomeserver.ASToken)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("register %s: %s", ghost, response.Status)
	}
}

// passed has the other bridge take what has happened on the homeserver before.
func passed(t *testing.T, h *fakehomeserver.Homeserver, room string) {
	t.Helper()
	last := h.Say(room, alice, "the last word to the old bridge")
	done := make(chan struct{})
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err == nil && strings.Contains(string(raw), last) {
			close(done)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	}))
	defer old.Close()
	h.SetService(old.URL)
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the old bridge is not told")
	}
	h.SetService("")
}

// configuration is the new bridge's, as the import writes it.
func (i *inheritance) configuration(t *testing.T) irc.Config {
	t.Helper()
	folder := t.TempDir()
	for name, text := range i.Config.Files(i.Store.Blocked) {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := i.Config.YAML(fakehomeserver.Sender)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "trestle.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := settings.Load(settings.Source{Environ: []string{"TRESTLE_CONFIG=" + path, "TRESTLE_DATA=" + folder}})
	if err != nil {
		t.Fatal(err)
	}
	service := registration.Generate(irc.ServiceID, "http://127.0.0.1:1", loaded.Bridges.IRC.BotUser)
	service.ASToken, service.HSToken = fakehomeserver.ASToken, fakehomeserver.HSToken
	c, err := irc.FromConfig(loaded, service)
	if err != nil {
		t.Fatal(err)
	}
	c.HomeserverURL, c.Database, c.KeyFile = i.h.URL, i.Database, i.KeyFile
	return c
}

func TestACommunityMovesWithoutRejoining(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, target string) {
		server := testkit.Ngircd(t, testkit.IRCOptions{})
		bob := testkit.DialIRC(t, server.Addr, "Bob")
		bob.Join("#quay")
		bob.Join("#garden")
		i := inherited(t, server.Addr, target)
		i.moves(t)
		h, room := i.h, i.room
		if password, err := irc.Password(t.Context(), target, i.KeyFile, "harbour", "@dave:localhost"); err != nil || password != "correct horse" {
			t.Errorf("dave's password is %q, %v", password, err)
		}
		if password, err := irc.Password(t.Context(), target, i.KeyFile, "harbour", "@heidi:localhost"); err != nil || password != "correct horse" {
			t.Errorf("heidi's password is %q, %v", password, err)
		}
		if certificate, err := irc.Certificate(t.Context(), target, i.KeyFile, "harbour", "@frank:localhost"); err != nil || certificate != i.certificate {
			t.Errorf("frank's certificate is %q, %v", certificate, err)
		}
		if addr, err := irc.Source(t.Context(), target, netip.MustParsePrefix("2001:db8:1:2::/64"), alice); err != nil || addr.String() != "2001:db8:1:2::7" {
			t.Errorf("alice's address is %s, %v", addr, err)
		}

		start(t, h, i.configuration(t))
		there := map[string]bool{}
		bob.ExpectFunc("the bot and alice, who has done nothing", func(line string) bool {
			for _, nick := range []string{"Pilot", "Captain"} {
				if strings.HasPrefix(line, ":"+nick+"!") && strings.Contains(line, "JOIN") {
					there[nick] = true
				}
			}
			return len(there) == 2
		})
		bob.Say("#quay", "ahoy")
		h.WaitBody(room, theirBob, "ahoy")
		for _, gone := range []string{theirGone, theirBOB} {
			h.WaitMembership(room, gone, "leave")
		}
		h.Say(room, alice, "ahoy, Bob")
		bob.Expect(":Captain!", "PRIVMSG #quay :ahoy, Bob")
		if found, refusal := h.Join(carol, "#harbour_#quay:localhost"); found != room {
			t.Errorf("the old alias leads to %s, %s", found, refusal)
		}
		bob.Expect(":carol-h!", "JOIN", "#quay")
		bob.Say("#quay", "carol, too")
		h.WaitBody(room, theirBob, "carol, too")
		h.Say(i.direct, alice, "psst")
		bob.Expect(":Captain!", "PRIVMSG Bob :psst")
		bob.Say("Captain", "yes?")
		h.WaitBody(i.direct, theirBob, "yes?")
		zoe := testkit.DialIRC(t, server.Addr, "Zoe")
		zoe.Join("#quay")
		h.WaitMembership(room, "@harbour_zoe:localhost", "join") // whom the other bridge has never met
		if _, refusal := h.Join("@mallory:localhost", "#harbour_#quay:localhost"); refusal != "" {
			t.Fatal(refusal)
		}
		h.WaitMembership(room, "@mallory:localhost", "leave")
		// A room of others is linked, and theirs.
		bob.Say("#garden", "roses?")
		h.WaitBody(i.garden, theirBob, "roses?")
		h.Say(i.garden, carol, "tulips")
		bob.Expect(":carol-h!", "PRIVMSG #garden :tulips")
		if topic := h.State(i.garden, "m.room.topic", ""); h.Membership(i.garden, alice) != "join" || !strings.Contains(topic, "Roses") {
			t.Errorf("alice's membership is %s, the topic %s", h.Membership(i.garden, alice), topic)
		}
		for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.member" && e.Membership() == "join" }) {
			if *e.StateKey == "@harbour_bob:localhost" {
				t.Error("Bob has a second ID")
			}
		}
	})
}

// moves imports: first dry, then in earnest, then again.
func (i *inheritance) moves(t *testing.T) {
	t.Helper()
	want := irc.Imported{Portals: 2, Plumbed: 1, Directs: 2, Ghosts: 4, Kept: 2, Accounts: 4, Passwords: 2, Addresses: 1, Management: 1, Mentions: 2}
	for round, dry := range []bool{true, false, false} {
		i.DryRun = dry
		got, err := i.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left := strings.Join(got.Left, "\n")
		for _, about := range []string{"!plumbed:localhost", "irc.gone.example", "@erin:localhost", "certificate of @grace:localhost"} {
			if !strings.Contains(left, about) {
				t.Errorf("nothing is said of %s in\n%s", about, left)
			}
		}
		if got.Left = nil; round == 2 {
			want = irc.Imported{Ghosts: 4, Management: 1, There: 4, Mentions: 2}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("round %d moves %+v, not %+v\n%s", round, got, want, left)
		}
	}
}

// Of a password with spaces older versions used the first word. A certificate logged in where the network had SASL.
func TestSecretsAreUsedAsTheyWere(t *testing.T) {
	t.Parallel()
	secrets := theirSecrets(t)
	for _, one := range []struct {
		version  int
		settings string
		password string
		external bool
	}{
		{9, "{networkId: harbour, ssl: true}", "correct", false},
		{10, "{networkId: harbour, ssl: true, sasl: true}", "correct horse", true},
		{10, "{networkId: harbour, sasl: true}", "correct horse", false},
	} {
		theirs, err := predecessor.Parse([]byte("homeserver: {domain: localhost}\nircService: {servers: {irc.harbour.example: " + one.settings + "}}"))
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		i := irc.Import{
			Database: filepath.Join(folder, "irc.db"), KeyFile: filepath.Join(folder, "irc.keys"), Config: theirs, Passkey: secrets.passkey, Logger: slog.New(slog.DiscardHandler),
			Store: &predecessor.Store{Version: one.version, Clients: []predecessor.Client{
				{User: "@dave:localhost", Domain: "irc.harbour.example", Sealed: secrets.Password, Certificate: secrets.Certificate, SealedKey: secrets.SealedKey},
			}},
		}
		if _, err := i.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if password, err := irc.Password(t.Context(), i.Database, i.KeyFile, "harbour", "@dave:localhost"); err != nil || password != one.password {
			t.Errorf("%+v: the password is %q, %v", one, password, err)
		}
		if external, err := irc.LogsIn(t.Context(), i.Database, "harbour", "@dave:localhost"); err != nil || external != one.external {
			t.Errorf("%+v: the certificate logs in: %v, %v", one, external, err)
		}
	}
}

func TestOnlyAStoreOfTheirsIsRead(t *testing.T) {
	t.Parallel()
	if _, err := predecessor.Read(t.Context(), testkit.Postgres(t)); err == nil || !strings.Contains(err.Error(), "no such store") {
		t.Errorf("an empty database: %v", err)
	}
	if _, err := predecessor.Read(t.Context(), theirStore(t, "UPDATE schema SET version = 11;")); err == nil || !strings.Contains(err.Error(), "version 11") {
		t.Errorf("a later schema: %v", err)
	}
	s, err := predecessor.Read(t.Context(), theirStore(t, "DROP TABLE deactivated_users; ALTER TABLE client_config DROP COLUMN cert, DROP COLUMN key; UPDATE schema SET version = 3; INSERT INTO admin_rooms VALUES ('!a:b', '@a:b'), ('nonsense', NULL);"))
	if err != nil || len(s.Skipped) != 1 || len(s.Admins) != 1 || s.Admins[0].User != matrix.UserID("@a:b") {
		t.Errorf("an older schema: %+v, %v", s, err)
	}
}
