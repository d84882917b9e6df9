package predecessor

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestRows(t *testing.T) {
	rows := []struct {
		table string
		row   []string
		fine  bool
	}{
		{"rooms", []string{"alias", "!a:b", "channel", "irc.example.org", "#a"}, true},
		{"rooms", []string{"alias", "!a:b", "pm", "irc.example.org", "bob"}, false},
		{"rooms", []string{"alias", "!a:b", "channel", "irc.example.org", "#a\r\nQUIT"}, false},
		{"rooms", []string{"alias", "a", "channel", "irc.example.org", "#a"}, false},
		{"pm_rooms", []string{"!a:b", "irc.example.org", "bob~", "@a:b", "@irc_bob:b"}, true},
		{"pm_rooms", []string{"!a:b", "irc.example.org", "b ob", "@a:b", "@irc_bob:b"}, false},
		{"pm_rooms", []string{"!a:b", "irc.example.org", "bob", "", "@irc_bob:b"}, false},
		{"client_config", []string{"@a:b", "irc.example.org", `{"nick":"al","ipv6":"2001:DB8::1"}`, "", "", ""}, true},
		{"client_config", []string{"@a:b", "irc.example.org", "", "sealed", "", ""}, true},
		{"client_config", []string{"@a:b", "irc.example.org", `{"nick":7}`, "", "", ""}, false},
		{"client_config", []string{"@a:b", "irc.example.org", `{"nick":"a b"}`, "", "", ""}, false},
		{"client_config", []string{"@a:b", "irc.example.org", `{"ipv6":"127.0.0.1"}`, "", "", ""}, false},
		{"user_features", []string{"@a:b", `{"mentions":true}`}, true},
		{"user_features", []string{"@a:b", `{"features":{"mentions":false},"mentions":true}`}, true},
		{"user_features", []string{"@a:b", `{"mentions":"yes"}`}, false},
		{"admin_rooms", []string{"!a:b", "@a:b"}, true},
		{"admin_rooms", []string{"!a:b", ""}, false},
		{"admin_rooms", []string{"!c:b", "-internal-"}, true},
		{"matrix_users", []string{"@irc_Bob:b"}, true},
		{"deactivated_users", []string{"x"}, false},
	}
	for _, one := range rows {
		s := &Store{Mentions: map[matrix.UserID]bool{}}
		for _, table := range tables {
			if table.name != one.table {
				continue
			}
			if err := table.row(s, one.row); (err == nil) != one.fine {
				t.Errorf("%s %q: %v", one.table, one.row, err)
			}
		}
		if one.table == "user_features" && s.Mentions["@a:b"] != one.fine {
			t.Errorf("%q: mentions are %v", one.row, s.Mentions)
		}
		for _, admin := range s.Admins {
			if admin.Room != "!a:b" {
				t.Errorf("%+v is somebody's room", admin)
			}
		}
		if len(s.Directs) == 1 && s.Directs[0].Nick != "bob^" {
			t.Errorf("the nick is %q", s.Directs[0].Nick)
		}
		if len(s.Clients) == 1 && s.Clients[0].Sealed == "" && (s.Clients[0].IPv6 != "2001:db8::1" || s.Clients[0].Nick != "al") {
			t.Errorf("the client is %+v", s.Clients[0])
		}
	}
}

// A user who has gone back to the default has only what was there before, beside no value.
func TestFeaturesOfBeforeDoNotCount(t *testing.T) {
	for column, want := range map[string]map[matrix.UserID]bool{
		`{"features":{"mentions":true}}`:                               {},
		`{"features":{"features":{"mentions":true},"mentions":false}}`: {},
		`{"features":{"mentions":true},"mentions":false}`:              {"@a:b": false},
		``: {},
	} {
		s := &Store{Mentions: map[matrix.UserID]bool{}}
		if err := s.addFeatures([]string{"@a:b", column}); err != nil || !maps.Equal(s.Mentions, want) {
			t.Errorf("%s: %v, %v", column, s.Mentions, err)
		}
	}
}

// The user names that the other bridge makes up are no accounts.
func TestUserNamesThatWereMadeUp(t *testing.T) {
	for name, want := range map[string]struct {
		user  matrix.UserID
		yours bool
	}{
		"aliceexamp": {"@alice:example.org", false},
		"aliceexa_1": {"@alice:example.org", false},
		"alicee_412": {"@Alice:example.org", false},
		"abc":        {"@a:bc", false},
		"M1abc":      {"@1:a.bc", false},
		"alice":      {"@alice:example.org", true},
		"aliceexa_x": {"@alice:example.org", true},
		"alice_1":    {"@alice:example.org", true},
		"bobexample": {"@alice:example.org", true},
	} {
		for _, sealed := range []string{"", "sealed"} {
			s := &Store{}
			err := s.addClient([]string{string(want.user), "irc.example.org", `{"username":"` + name + `","nick":"al"}`, sealed, "", ""})
			kept := len(s.Clients) == 1 && s.Clients[0].Username == name
			if err != nil || kept != (want.yours || sealed != "") {
				t.Errorf("%s of %s, with %q: %+v, %v", name, want.user, sealed, s.Clients, err)
			}
		}
	}
}

// What Node.js's own cryptography has sealed; see testdata.
func TestWhatTheOtherBridgeHasSealed(t *testing.T) {
	raw, err := os.ReadFile("testdata/passkey.pem")
	if err != nil {
		t.Fatal(err)
	}
	passkey, err := ParsePasskey(raw)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile("testdata/sealed.json"); err != nil {
		t.Fatal(err)
	}
	var sealed struct{ Password, Key, SealedKey string }
	if err := json.Unmarshal(raw, &sealed); err != nil {
		t.Fatal(err)
	}
	if password, err := passkey.Open(sealed.Password); err != nil || password != "correct horse" {
		t.Errorf("the password is %q, %v", password, err)
	}
	if key, err := passkey.OpenLong(sealed.SealedKey); err != nil || key != sealed.Key {
		t.Errorf("the key is %q, %v", key, err)
	}
}

func FuzzRows(f *testing.F) {
	f.Add("alias", "!a:b", "channel", "irc.example.org", "#a")
	f.Add("@a:b", "irc.example.org", `{"nick":"al","username":"x","ipv6":"::1"}`, "c2VjcmV0", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) {
		columns := []string{a, b, c, d, e, e}
		s := &Store{Mentions: map[matrix.UserID]bool{}}
		for _, table := range tables {
			_ = table.row(s, columns[:strings.Count(table.columns, ",")+1])
		}
		for _, r := range s.Rooms {
			if strings.ContainsAny(r.Channel, " ,\r\n\x00") {
				t.Errorf("the channel %q", r.Channel)
			}
		}
		for _, d := range s.Directs {
			if strings.ContainsAny(d.Nick, " ,\r\n\x00") {
				t.Errorf("the nick %q", d.Nick)
			}
		}
		for _, c := range s.Clients {
			if strings.ContainsAny(c.Nick, " ,\r\n\x00") || strings.ContainsAny(c.Username, "\r\n\x00") {
				t.Errorf("the client %+v", c)
			}
		}
	})
}

func TestPasswordsAreOpened(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	modern, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(text string) string {
		sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(sealed)
	}
	for kind, der := range map[string][]byte{"PRIVATE KEY": modern, "RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(key)} {
		passkey, err := ParsePasskey(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		if err != nil {
			t.Fatal(err)
		}
		if password, err := passkey.Open(seal("c2FsdA== correct horse")); err != nil || password != "correct horse" {
			t.Errorf("it opens %q, %v", password, err)
		}
		for _, sealed := range []string{"", "!", "c2VjcmV0", seal("nosalt"), seal("salt "), seal("salt a\r\nQUIT"), strings.Repeat("A", 10_000)} {
			if password, err := passkey.Open(sealed); err == nil {
				t.Errorf("%.30q opens as %q", sealed, password)
			}
		}
	}
	// What is longer than the key can seal is sealed by a key of its own.
	aesKey, iv, long := make([]byte, 32), make([]byte, 16), strings.Repeat("-----BEGIN PRIVATE KEY-----\n", 100)
	padded := []byte(long)
	for n, i := aes.BlockSize-len(long)%aes.BlockSize, 0; i < n; i++ {
		padded = append(padded, byte(n))
	}
	block, err := aes.NewCipher(aesKey)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	text := base64.StdEncoding.EncodeToString
	head := "lg:" + seal("c2FsdA== "+text(aesKey)+"_"+text(iv)) + ":"
	passkey, err := ParsePasskey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: modern}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := passkey.OpenLong(head + text(padded)); err != nil || got != long {
		t.Errorf("it opens %.50q, %v", got, err)
	}
	for _, sealed := range []string{
		"", "lg:", "lg::", head, head + "!", head + text(padded[:20]), head + text(make([]byte, 32)), "lg:" + seal("salt a_b") + ":" + text(padded),
		"lg:" + seal("salt "+text(aesKey[:5])+"_"+text(iv)) + ":" + text(padded), "lg:" + seal("salt "+text(aesKey)+"_"+text(iv[:3])) + ":" + text(padded), head + strings.Repeat("A", 1<<20),
	} {
		if got, err := passkey.OpenLong(sealed); err == nil {
			t.Errorf("%.30q opens as %.50q", sealed, got)
		}
	}
	for _, text := range []string{"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParsePasskey([]byte(text)); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}
