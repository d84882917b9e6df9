package clientapi_test

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// newKey is a pair of which the number is the secret.
func newKey(n byte) (public string, private ed25519.PrivateKey) {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	private = ed25519.NewKeyFromSeed(seed)
	return matrix.Base64(private.Public().(ed25519.PublicKey)), private
}

// signed adds a user's signature to an object.
func signed(t *testing.T, object any, user, keyID string, private ed25519.PrivateKey) any {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = matrix.SignJSON(raw, matrix.ServerName(user), matrix.SigningKey{ID: matrix.KeyID("ed25519:" + keyID), Private: private})
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(raw)
}

// crossSigningKey is a cross-signing key as clients make it.
func (d *device) crossSigningKey(usage, public string) object {
	return object{"user_id": d.user, "usage": []string{usage}, "keys": object{"ed25519:" + public: public}}
}

const signingPath = v3 + "/keys/device_signing/upload"

// signingKeys uploads three keys, made of a number and the two after it.
func (d *device) signingKeys(n byte) (master, self, user ed25519.PrivateKey) {
	d.t.Helper()
	m, master := newKey(n)
	s, self := newKey(n + 1)
	u, user := newKey(n + 2)
	d.must("POST", signingPath, object{
		"master_key":       d.crossSigningKey("master", m),
		"self_signing_key": signed(d.t, d.crossSigningKey("self_signing", s), d.user, m, master),
		"user_signing_key": signed(d.t, d.crossSigningKey("user_signing", u), d.user, m, master),
	})
	return master, self, user
}

func TestCrossSigningKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		alice.room(bob)
		bob.sync()
		public, private := newKey(1)
		master := alice.crossSigningKey("master", public)
		first := object{"master_key": master}

		// The first key needs no password, and the same one again neither.
		alice.must("POST", signingPath, first)
		alice.must("POST", signingPath, first)
		bob.expectLists("a master key", []string{alice.user}, nil)
		if got := bob.query(alice.user).at("master_keys", alice.user); !same(got, master) {
			t.Errorf("master key %v", got)
		}

		// A new key does, be it one that was missing or another one.
		other, _ := newKey(9)
		selfPublic, _ := newKey(2)
		more := object{"self_signing_key": signed(t, alice.crossSigningKey("self_signing", selfPublic), alice.user, public, private)}
		for _, body := range []object{{"master_key": alice.crossSigningKey("master", other)}, more} {
			if res := alice.do("POST", signingPath, body); res.status != 401 || res.at("flows") == nil {
				t.Errorf("a new key without password: %d %s", res.status, res.body)
			}
		}
		more["auth"] = json.RawMessage(passwordAuth(alice.user, password))
		alice.must("POST", signingPath, more)
		alice.must("POST", signingPath, more)
		bob.expectLists("a self-signing key", []string{alice.user}, nil)

		// The user-signing key is for oneself alone.
		userPublic, _ := newKey(3)
		alice.sync()
		alice.must("POST", signingPath, object{
			"user_signing_key": signed(t, alice.crossSigningKey("user_signing", userPublic), alice.user, public, private),
			"auth":             json.RawMessage(passwordAuth(alice.user, password)),
		})
		bob.expectLists("a user-signing key", nil, nil)
		alice.expectLists("a user-signing key", []string{alice.user}, nil)
		if got := bob.query(alice.user); got.at("self_signing_keys", alice.user) == nil || got.at("user_signing_keys", alice.user) != nil {
			t.Errorf("what bob sees: %s", got.body)
		}
		if got := alice.query(alice.user); got.at("user_signing_keys", alice.user) == nil {
			t.Errorf("what alice sees: %s", got.body)
		}

		// A new master key makes the others void.
		alice.must("POST", signingPath, object{
			"master_key": alice.crossSigningKey("master", other), "auth": json.RawMessage(passwordAuth(alice.user, password)),
		})
		if got := alice.query(alice.user); got.at("self_signing_keys", alice.user) != nil || got.at("user_signing_keys", alice.user) != nil {
			t.Errorf("keys of the old master key: %s", got.body)
		}
	})
}

func TestCrossSigningRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		public, private := newKey(1)
		_, stranger := newKey(7)
		self, _ := newKey(2)
		selfKey := alice.crossSigningKey("self_signing", self)
		master := func(change func(object)) object {
			key := alice.crossSigningKey("master", public)
			change(key)
			return object{"master_key": key}
		}
		for _, tt := range []struct {
			body any
			code string
		}{
			{object{"self_signing_key": signed(t, selfKey, alice.user, public, private)}, "M_MISSING_PARAM"},
			{object{"master_key": alice.crossSigningKey("master", public), "self_signing_key": selfKey}, "M_INVALID_SIGNATURE"},
			{object{"master_key": alice.crossSigningKey("master", public), "self_signing_key": signed(t, selfKey, alice.user, public, stranger)}, "M_INVALID_SIGNATURE"},
			{object{"master_key": alice.crossSigningKey("master", public), "self_signing_key": signed(t, selfKey, "@bob:hs.example", public, private)}, "M_INVALID_SIGNATURE"},
			{object{"master_key": "key"}, "M_BAD_JSON"},
			{`{"master_key":{"user_id":1}}`, "M_BAD_JSON"},
			{`[]`, "M_BAD_JSON"},
			{master(func(k object) { k["user_id"] = "@bob:hs.example" }), "M_INVALID_PARAM"},
			{master(func(k object) { k["usage"] = []string{"self_signing"} }), "M_INVALID_PARAM"},
			{master(func(k object) { k["keys"] = object{} }), "M_INVALID_PARAM"},
			{master(func(k object) { k["keys"] = object{"ed25519:x": "x"} }), "M_INVALID_PARAM"},
			{master(func(k object) { k["keys"] = object{"ed25519:" + self: public} }), "M_INVALID_PARAM"},
			{master(func(k object) { k["keys"] = object{"ed25519:" + self: self, "ed25519:" + public: public} }), "M_INVALID_PARAM"},
			{master(func(k object) { k["float"] = 1.5 }), "M_BAD_JSON"},
		} {
			alice.refused("POST", signingPath, tt.body, 400, tt.code)
		}
		named := alice.another(public)
		named.refused("POST", signingPath, object{"master_key": alice.crossSigningKey("master", public)}, 403, "M_FORBIDDEN")
		alice.must("POST", signingPath, "{}")
	})
}

func TestKeySignatures(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		alice.room(bob, carol)

		// alice's device has a real key, which signs her master key.
		devicePublic, devicePrivate := newKey(50)
		keys := alice.deviceKeys(1)
		keys["keys"] = object{"ed25519:ALICE": devicePublic, "curve25519:ALICE": "curve"}
		alice.upload(object{"device_keys": keys})
		_, self, user := alice.signingKeys(10)
		bob.signingKeys(20)
		masterPublic, _ := newKey(10)
		selfPublic, _ := newKey(11)
		userPublic, _ := newKey(12)
		bobPublic, _ := newKey(20)
		for _, d := range []*device{alice, bob, carol} {
			d.sync()
		}

		const path = v3 + "/keys/signatures/upload"
		res := alice.must("POST", path, object{
			alice.user: object{
				"ALICE":      signed(t, keys, alice.user, selfPublic, self),
				masterPublic: signed(t, alice.crossSigningKey("master", masterPublic), alice.user, "ALICE", devicePrivate),
			},
			bob.user: object{bobPublic: signed(t, bob.crossSigningKey("master", bobPublic), alice.user, userPublic, user)},
		})
		if got := res.at("failures"); !same(got, object{}) {
			t.Errorf("failures %v", got)
		}
		// Her own keys look different to everybody, bob's to her alone.
		alice.expectLists("signatures", []string{alice.user, bob.user}, nil)
		bob.expectLists("signatures", []string{alice.user}, nil)
		carol.expectLists("signatures", []string{alice.user}, nil)
		ofDevice := carol.query(alice.user).at("device_keys", alice.user, "ALICE", "signatures", alice.user)
		if got, _ := ofDevice.(map[string]any); got["ed25519:"+selfPublic] == nil || got["ed25519:ALICE"] == nil {
			t.Errorf("signatures on the device: %v", got)
		}
		if got := carol.query(alice.user).at("master_keys", alice.user, "signatures", alice.user, "ed25519:ALICE"); got == nil {
			t.Error("the device's signature on the master key is missing")
		}
		if got := alice.query(bob.user).at("master_keys", bob.user, "signatures", alice.user); got == nil {
			t.Error("alice does not see that she has signed bob's key")
		}
		for _, d := range []*device{bob, carol} {
			if got := d.query(bob.user).at("master_keys", bob.user, "signatures", alice.user); got != nil {
				t.Errorf("%s sees whom alice has signed", d.user)
			}
		}

		// With other keys, the device is another one.
		keys["keys"] = object{"ed25519:ALICE": bobPublic, "curve25519:ALICE": "curve"}
		alice.upload(object{"device_keys": keys})
		if got := carol.query(alice.user).at("device_keys", alice.user, "ALICE", "signatures", alice.user, "ed25519:"+selfPublic); got != nil {
			t.Error("the signature on the old keys stays")
		}
	})
}

func TestKeySignaturesRefuse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		alice.uploadDevice(1)
		_, self, user := alice.signingKeys(10)
		bob.signingKeys(20)
		selfPublic, stranger := newKey(11)
		stranger[0] ^= 1
		userPublic, _ := newKey(12)
		bobPublic, _ := newKey(20)
		changed := alice.deviceKeys(2)
		for _, tt := range []struct {
			name, user, key string
			signed          any
			code            string
		}{
			{"unknown device", alice.user, "GONE", signed(t, alice.deviceKeys(1), alice.user, selfPublic, self), "M_NOT_FOUND"},
			{"unknown user", "@nobody:hs.example", "X", object{}, "M_NOT_FOUND"},
			{"user of another server", "@x:elsewhere", "X", object{}, "M_NOT_FOUND"},
			{"a device of another", bob.user, "BOB", signed(t, bob.deviceKeys(1), alice.user, userPublic, user), "M_NOT_FOUND"},
			{"other keys", alice.user, "ALICE", signed(t, changed, alice.user, selfPublic, self), "M_INVALID_PARAM"},
			{"no signature", alice.user, "ALICE", alice.deviceKeys(1), "M_INVALID_SIGNATURE"},
			{"by the wrong key", alice.user, "ALICE", signed(t, alice.deviceKeys(1), alice.user, userPublic, user), "M_INVALID_SIGNATURE"},
			{"by another secret", alice.user, "ALICE", signed(t, alice.deviceKeys(1), alice.user, selfPublic, stranger), "M_INVALID_SIGNATURE"},
			{"by the self-signing key on another", bob.user, bobPublic, signed(t, bob.crossSigningKey("master", bobPublic), alice.user, selfPublic, self), "M_INVALID_SIGNATURE"},
			{"no object", alice.user, "ALICE", "x", "M_INVALID_PARAM"},
		} {
			// The specification's schema wants objects; that others do no harm is for here.
			res := alice.do("POST", "/_matrix/client/unstable/keys/signatures/upload", object{tt.user: object{tt.key: tt.signed}})
			if got := res.at("failures", tt.user, tt.key, "errcode"); res.status != 200 || got != tt.code {
				t.Errorf("%s: %d %s, want %s", tt.name, res.status, res.body, tt.code)
			}
		}
		alice.refused("POST", v3+"/keys/signatures/upload", object{"alice": object{}}, 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/keys/signatures/upload", `{"@alice:hs.example":[]}`, 400, "M_BAD_JSON")
	})
}
