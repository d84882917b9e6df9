package matrix_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// specKey is the key of Appendices § Cryptographic Test Vectors; its server
// is "domain".
func specKey(t *testing.T) matrix.SigningKey {
	t.Helper()
	key, err := matrix.ParseSigningKey("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignJSON(t *testing.T) {
	const other = `"other":{"ed25519:x":"AAAA"}`
	tests := []struct{ name, in, want string }{
		{"the specification's empty object", `{}`,
			`{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`},
		{"the specification's data", `{"two": "Two", "one": 1}`,
			`{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}`},
		{"unsigned and other signatures stay", `{"unsigned":{"age":1},"two":"Two","signatures":{` + other + `},"one":1}`,
			`{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"},` + other + `},"two":"Two","unsigned":{"age":1}}`},
		{"other keys stay, the same key is replaced", `{"signatures":{"domain":{"ed25519:0":"A","ed25519:1":"B"}}}`,
			`{"signatures":{"domain":{"ed25519:0":"A","ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`},
	}
	key := specKey(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := matrix.SignJSON([]byte(test.in), "domain", key)
			if err != nil || string(got) != test.want {
				t.Fatalf("got %s, %v\nwant %s", got, err, test.want)
			}
			if err := matrix.VerifyJSON(got, "domain", "ed25519:1", key.Public()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignJSONRefuses(t *testing.T) {
	for _, in := range []string{``, `[]`, `"x"`, `{"a":1.5}`, `{"signatures":[]}`, `{"signatures":{"domain":"x"}}`} {
		if got, err := matrix.SignJSON([]byte(in), "domain", testKey); err == nil {
			t.Errorf("SignJSON(%s) = %s", in, got)
		}
	}
}

func TestVerifyJSONRefuses(t *testing.T) {
	key := specKey(t)
	signed, err := matrix.SignJSON([]byte(`{"a":1}`), "domain", key)
	if err != nil {
		t.Fatal(err)
	}
	object := string(signed)
	tests := []struct {
		name, object string
		server       matrix.ServerName
		key          matrix.KeyID
		public       ed25519.PublicKey
	}{
		{"changed object", strings.Replace(object, `"a":1`, `"a":2`, 1), "domain", "ed25519:1", key.Public()},
		{"changed signature", strings.Replace(object, `"ed25519:1":"`, `"ed25519:1":"AAAA`, 1), "domain", "ed25519:1", key.Public()},
		{"no base64", strings.Replace(object, `"ed25519:1":"`, `"ed25519:1":"!`, 1), "domain", "ed25519:1", key.Public()},
		{"another server", object, "other", "ed25519:1", key.Public()},
		{"another key", object, "domain", "ed25519:2", key.Public()},
		{"a wrong public key", object, "domain", "ed25519:1", testKey.Public()},
		{"no public key", object, "domain", "ed25519:1", nil},
		{"another algorithm", strings.Replace(object, "ed25519:1", "curve25519:1", 1), "domain", "curve25519:1", key.Public()},
		{"no signatures", `{"a":1}`, "domain", "ed25519:1", key.Public()},
		{"signatures of a wrong type", `{"a":1,"signatures":{"domain":{"ed25519:1":5}}}`, "domain", "ed25519:1", key.Public()},
		{"no object", `[]`, "domain", "ed25519:1", key.Public()},
		{"no JSON", ``, "domain", "ed25519:1", key.Public()},
	}
	for _, test := range tests {
		if err := matrix.VerifyJSON([]byte(test.object), test.server, test.key, test.public); err == nil {
			t.Errorf("%s: accepted", test.name)
		}
	}
}

func TestVerifyJSONOfOddNames(t *testing.T) {
	key := matrix.SigningKey{ID: "ed25519:é", Private: testKey.Private}
	for _, entity := range []matrix.ServerName{`@a"b\c:domain`, "@\n:domain", "é"} {
		signed, err := matrix.SignJSON([]byte(`{"a":1}`), entity, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := matrix.VerifyJSON(signed, entity, key.ID, key.Public()); err != nil {
			t.Errorf("%q: %v", entity, err)
		}
	}
}

// TestSpecificationEvents holds hashing and signing against Appendices §
// Event Signing. Its events lack members that events have today, so they are
// loaded as if they had been stored.
func TestSpecificationEvents(t *testing.T) {
	tests := []struct{ name, signed, signature string }{
		{"minimal", `{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},` +
			`"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain",` +
			`"signatures":{"domain":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}},"type":"X"}`,
			`{"domain":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}}`},
		{"with content", `{"content":{"body":"Here is the message content"},"event_id":"$0:domain",` +
			`"hashes":{"sha256":"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g"},"origin":"domain","origin_server_ts":1000000,` +
			`"room_id":"!r:domain","sender":"@u:domain","signatures":{"domain":{"ed25519:1":"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA"}},"type":"m.room.message"}`,
			`{"domain":{"ed25519:1":"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA"}}`},
	}
	key := specKey(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := matrix.LoadEvent(version(t, "1"), "", []byte(test.signed))
			if err != nil {
				t.Fatal(err)
			}
			if !e.CheckHash() {
				t.Error("the content hash does not match")
			}
			if err := e.VerifySignature("domain", "ed25519:1", key.Public()); err != nil {
				t.Error(err)
			}
			unsigned, err := matrix.LoadEvent(e.Version, e.ID, []byte(strings.Replace(test.signed, test.signature, "{}", 1)))
			if err != nil {
				t.Fatal(err)
			}
			again, err := unsigned.Sign("domain", key)
			if err != nil || string(again.JSON()) != test.signed {
				t.Errorf("got %s, %v\nwant %s", again.JSON(), err, test.signed)
			}
		})
	}
}

func TestSignAddsASignature(t *testing.T) {
	for _, v := range roomversion.All() {
		e := build(t, v, matrix.EventTemplate{Type: "m.room.member", StateKey: new("@bob:other"), Content: []byte(`{"membership":"invite"}`)})
		second := matrix.SigningKey{ID: "ed25519:two", Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))}
		both, err := e.Sign("other", second)
		if err != nil {
			t.Fatal(err)
		}
		if both.ID != e.ID || !both.CheckHash() {
			t.Errorf("version %s: a signature changed the event", v.ID)
		}
		if err := both.VerifySignature("example.org", testKey.ID, testKey.Public()); err != nil {
			t.Errorf("version %s: %v", v.ID, err)
		}
		if err := both.VerifySignature("other", second.ID, second.Public()); err != nil {
			t.Errorf("version %s: %v", v.ID, err)
		}
		if err := e.VerifySignature("other", second.ID, second.Public()); err == nil {
			t.Errorf("version %s: the first event changed", v.ID)
		}
		if keys := both.SignatureKeys("other"); len(keys) != 1 || keys[0] != second.ID {
			t.Errorf("version %s: signed with %q", v.ID, keys)
		}
		if keys := both.SignatureKeys("nobody"); keys != nil {
			t.Errorf("version %s: nobody signed with %q", v.ID, keys)
		}
		redacted, err := both.Redact()
		if err != nil {
			t.Fatal(err)
		}
		if err := redacted.VerifySignature("other", second.ID, second.Public()); err != nil {
			t.Errorf("version %s, redacted: %v", v.ID, err)
		}
	}
}

func TestSigningKeyLine(t *testing.T) {
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	again, err := matrix.ParseSigningKey(key.Encode())
	if err != nil || again.ID != key.ID || !again.Private.Equal(key.Private) {
		t.Errorf("%q came back as %s, %v", key.Encode(), again, err)
	}
	if text := fmt.Sprintf("%v %+v %s", key, key, key); strings.Contains(text, matrix.Base64(key.Private.Seed())) || !strings.Contains(text, string(key.ID)) {
		t.Errorf("a log would show %s", text)
	}
	for _, line := range []string{
		"", "ed25519 a", "rsa a YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", "ed25519 a-b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
		"ed25519 a YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3", "ed25519 a !", "ed25519 a b c",
	} {
		if key, err := matrix.ParseSigningKey(line); err == nil {
			t.Errorf("ParseSigningKey(%q) = %s", line, key)
		}
	}
}

func TestBase64(t *testing.T) {
	for text, want := range map[string]string{"": "", "f": "Zg", "fo": "Zm8", "foo": "Zm9v", "foob": "Zm9vYg", "fooba": "Zm9vYmE", "foobar": "Zm9vYmFy", "\xfb\xff": "+/8"} {
		if got := matrix.Base64([]byte(text)); got != want {
			t.Errorf("Base64(%q) = %q, want %q", text, got, want)
		}
		for _, encoded := range []string{want, strings.NewReplacer("+", "-", "/", "_").Replace(want), want + strings.Repeat("=", (4-len(want)%4)%4)} {
			if got, err := matrix.DecodeBase64(encoded); err != nil || string(got) != text {
				t.Errorf("DecodeBase64(%q) = %q, %v", encoded, got, err)
			}
		}
	}
}

func TestRandomString(t *testing.T) {
	seen := map[string]bool{}
	for n := range 200 {
		s := matrix.RandomString(n)
		if len(s) != n || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("RandomString(%d) = %q", n, s)
		}
		if n > 10 && seen[s] {
			t.Errorf("%q came twice", s)
		}
		seen[s] = true
	}
}

// Of a copy that another server has signed nothing is taken but its signatures.
func TestWithSignatures(t *testing.T) {
	v := version(t, "10")
	stateKey := "@b:other"
	e, err := matrix.EventTemplate{
		RoomID: "!r:here", Sender: "@a:here", Type: "m.room.member", StateKey: &stateKey, Content: []byte(`{"membership":"invite","reason":"x"}`),
	}.Build(v, "here", testKey)
	if err != nil {
		t.Fatal(err)
	}
	key := specKey(t)
	copied, err := e.Sign("other", key)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(copied.JSON()), `"reason":"x"`, `"reason":"y"`, 1)
	text = strings.Replace(text, `"signatures":{`, `"signatures":{"third":{"ed25519:1":"AAAA"},`, 1)
	if copied, err = matrix.ParseEvent(v, []byte(text)); err != nil || copied.ID != e.ID {
		t.Fatalf("%v %v", copied, err)
	}
	signed, err := e.WithSignatures(copied, "other")
	if err != nil || signed.ID != e.ID || !signed.CheckHash() || len(signed.SignatureKeys("third")) != 0 {
		t.Fatalf("%s %v", signed.JSON(), err)
	}
	for server, k := range map[matrix.ServerName]matrix.SigningKey{"here": testKey, "other": key} {
		if err := signed.VerifySignature(server, k.ID, k.Public()); err != nil {
			t.Errorf("%s: %v", server, err)
		}
	}
	if same, err := e.WithSignatures(e, "other"); err != nil || !bytes.Equal(same.JSON(), e.JSON()) {
		t.Errorf("no signatures: %v %v", same, err)
	}
	for _, signature := range []string{`"AAAA"`, `5`, `"!"`} {
		text := strings.Replace(string(e.JSON()), `"signatures":{`, `"signatures":{"other":{"ed25519:1":`+signature+`},`, 1)
		copied, err := matrix.ParseEvent(v, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if signed, err := e.WithSignatures(copied, "other"); err == nil {
			t.Errorf("%s: %s", signature, signed.JSON())
		}
	}
}
