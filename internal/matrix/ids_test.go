package matrix_test

import (
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestParseServerName(t *testing.T) {
	for _, s := range []string{
		"matrix.org", "matrix.org:8888", "1.2.3.4", "1.2.3.4:1234", "[1234:5678::abcd]", "[1234:5678::abcd]:5678", // Appendices § Server Name
		"localhost", "MATRIX.org", "a-b.c", "x:1", "x:65535", "[::1]", "[::ffff:1.2.3.4]", "hs1:08448", strings.Repeat("x", 255),
	} {
		if name, err := matrix.ParseServerName(s); err != nil || string(name) != s {
			t.Errorf("ParseServerName(%q) = %q, %v", s, name, err)
		}
	}
	for _, s := range []string{
		"", ":", ":80", "x:", "x:y", "x:-1", "x:123456", "x:65536", "x:80:80", "a_b", "a b", "a/b", "é", "x\x00", "a@b", "[", "[]", "[x]", "[::1", "[::1]x", "[::1]:", "[::1]:x",
		"[1.2.3.4]", "[::1%eth0]", "::1", "[:1:2]", "x:８０", strings.Repeat("x", 256),
	} {
		if name, err := matrix.ParseServerName(s); err == nil {
			t.Errorf("ParseServerName(%q) = %q", s, name)
		}
	}
}

func TestParseUserID(t *testing.T) {
	tests := []struct{ id, localpart, server string }{
		{"@alice:example.org", "alice", "example.org"},
		{"@a.b_c=d-e/f+g0:example.org:8448", "a.b_c=d-e/f+g0", "example.org:8448"},
		{"@x:[::1]:80", "x", "[::1]:80"},
		{"@Alice Été\n@!$#%?:example.org", "Alice Été\n@!$#%?", "example.org"}, // historical
		{"@:example.org", "", "example.org"},                                   // historical
		{"@" + strings.Repeat("x", 242) + ":example.org", strings.Repeat("x", 242), "example.org"},
	}
	for _, test := range tests {
		id, err := matrix.ParseUserID(test.id)
		if err != nil || string(id) != test.id || id.Localpart() != test.localpart || string(id.Server()) != test.server {
			t.Errorf("ParseUserID(%q) = %q, %v: %q on %q", test.id, id, err, id.Localpart(), id.Server())
		}
		if made := matrix.NewUserID(test.localpart, matrix.ServerName(test.server)); made != id {
			t.Errorf("NewUserID made %q of %q", made, id)
		}
	}
	for _, s := range []string{
		"", "@", "alice", "@alice", "alice:example.org", "#alice:example.org", "@alice:", "@alice:a b", "@a\x00:example.org", "@\xff:example.org",
		"@\xed\xa0\x80:example.org", "@a:b:c", "@" + strings.Repeat("x", 243) + ":example.org", " @a:b", "@a:b ",
	} {
		if id, err := matrix.ParseUserID(s); err == nil {
			t.Errorf("ParseUserID(%q) = %q", s, id)
		}
	}
}

func TestParseRoomAlias(t *testing.T) {
	for _, s := range []string{"#a:b", "#irc_local_#trestle:localhost", "#été 日本:example.org:8448", "##:b"} {
		alias, err := matrix.ParseRoomAlias(s)
		if err != nil || string(alias) != s {
			t.Errorf("ParseRoomAlias(%q) = %q, %v", s, alias, err)
		}
		if made := matrix.NewRoomAlias(alias.Localpart(), alias.Server()); made != alias {
			t.Errorf("NewRoomAlias made %q of %q", made, alias)
		}
	}
	for _, s := range []string{"", "#", "#a", "a:b", "@a:b", "#:b", "#a\x00:b", "#\xff:b", "#a:", "#a:b/c", "#" + strings.Repeat("x", 255) + ":b"} {
		if alias, err := matrix.ParseRoomAlias(s); err == nil {
			t.Errorf("ParseRoomAlias(%q) = %q", s, alias)
		}
	}
}

func TestParseRoomID(t *testing.T) {
	tests := map[string]matrix.ServerName{
		"!abc:example.org": "example.org", "!a\nÉ:example.org:80": "example.org:80",
		"!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ": "", "!x": "",
	}
	for s, server := range tests {
		if id, err := matrix.ParseRoomID(s); err != nil || string(id) != s || id.Server() != server {
			t.Errorf("ParseRoomID(%q) = %q, %v on %q", s, id, err, id.Server())
		}
	}
	for _, s := range []string{"", "!", "x", "#a:b", "!a:", "!a:b c", "!a\x00", "!\xff", "!" + strings.Repeat("x", 255)} {
		if id, err := matrix.ParseRoomID(s); err == nil {
			t.Errorf("ParseRoomID(%q) = %q", s, id)
		}
	}
	if id := matrix.RoomID("!abc").CreateEventID(); id != "$abc" {
		t.Errorf("the create event of !abc is %s", id)
	}
}

func TestParseEventID(t *testing.T) {
	for _, s := range []string{"$a", "$a:example.org", "$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", "$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"} {
		if id, err := matrix.ParseEventID(s); err != nil || string(id) != s {
			t.Errorf("ParseEventID(%q) = %q, %v", s, id, err)
		}
	}
	for _, s := range []string{"", "$", "a", "!a", "$\x00", "$\xff", "$" + strings.Repeat("x", 255)} {
		if id, err := matrix.ParseEventID(s); err == nil {
			t.Errorf("ParseEventID(%q) = %q", s, id)
		}
	}
}

func TestValidLocalpart(t *testing.T) {
	for s, want := range map[string]bool{
		"alice": true, "a.b_c=d-e/f+g0": true, "0": true,
		"": false, "Alice": false, "a b": false, "é": false, "a:b": false, "a@b": false, "a\x00": false, "a~b": false, "a#b": false,
	} {
		if matrix.ValidLocalpart(s) != want {
			t.Errorf("ValidLocalpart(%q) = %v", s, !want)
		}
	}
}

func TestPartsOfNothing(t *testing.T) {
	if matrix.UserID("").Localpart() != "" || matrix.UserID("").Server() != "" || matrix.UserID("@x").Localpart() != "x" || matrix.RoomAlias("#").Localpart() != "" {
		t.Error("an ID that is none has odd parts")
	}
}

// FuzzIDs: an ID that is accepted can be taken apart and put together again,
// and holds nothing that breaks a log line's or a database's idea of text.
func FuzzIDs(f *testing.F) {
	for _, seed := range []string{"@alice:example.org", "#a:[::1]:80", "!r:1.2.3.4", "!hash", "$event", "@a\x00:b", "@:b", "x:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bad := func(kind string) { t.Errorf("%q passed as %s", s, kind) }
		unsound := len(s) > matrix.MaxIDLength || strings.ContainsRune(s, 0) || strings.ToValidUTF8(s, "") != s
		if id, err := matrix.ParseUserID(s); err == nil {
			if _, err := matrix.ParseServerName(string(id.Server())); err != nil || unsound || matrix.NewUserID(id.Localpart(), id.Server()) != id || strings.Contains(id.Localpart(), ":") {
				bad("user ID")
			}
		}
		if alias, err := matrix.ParseRoomAlias(s); err == nil {
			if _, err := matrix.ParseServerName(string(alias.Server())); err != nil || unsound || matrix.NewRoomAlias(alias.Localpart(), alias.Server()) != alias || alias.Localpart() == "" {
				bad("room alias")
			}
		}
		if id, err := matrix.ParseRoomID(s); err == nil && (unsound || id[0] != '!') {
			bad("room ID")
		}
		if id, err := matrix.ParseEventID(s); err == nil && (unsound || id[0] != '$') {
			bad("event ID")
		}
		if name, err := matrix.ParseServerName(s); err == nil && (unsound || strings.Trim(string(name), "[]:.-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
			bad("server name")
		}
	})
}
