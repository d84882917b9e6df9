package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// A keychain is what a service keeps of its users' keys by itself.
type keychain struct {
	claim, query    string // the answers; empty: M_UNRECOGNIZED
	asked           atomic.Value
	claims, queries atomic.Int64
}

func (k *keychain) answer(w http.ResponseWriter, r *http.Request) {
	body := ""
	switch r.Method + " " + r.URL.Path {
	case "POST /_matrix/app/unstable/org.matrix.msc3983/keys/claim":
		body = k.claim
		k.claims.Add(1)
	case "POST /_matrix/app/unstable/org.matrix.msc3984/keys/query":
		body = k.query
		k.queries.Add(1)
	}
	var question json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&question)
	k.asked.Store(string(question))
	if body == "" {
		w.WriteHeader(http.StatusNotFound)
		body = `{"errcode":"M_UNRECOGNIZED"}`
	}
	fmt.Fprint(w, body)
}

func claimOne(t *testing.T, client *mautrix.Client, user id.UserID, device id.DeviceID) string {
	t.Helper()
	res, err := client.ClaimKeys(t.Context(), &mautrix.ReqClaimKeys{OneTimeKeys: mautrix.OneTimeKeysRequest{user: {device: "signed_curve25519"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name := range res.OneTimeKeys[user][device] {
		return string(name)
	}
	return ""
}

func oneTime(name string) string {
	return `"` + name + `":{"key":"k","signatures":{}}`
}

func TestClaimsGoToTheServiceThatKeepsTheKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s, keys := withService(t, database), &keychain{}
		s.Query = keys.answer
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		bob := s.device("@irc_bob:test", "BRIDGE")
		bob.DeviceID = "BRIDGE"
		uploadKeys(t, bob, 0, 1)
		keys.claim = `{"@irc_bob:test":{"BRIDGE":{` + oneTime("other:A") + `,"signed_curve25519:B":7,` + oneTime("signed_curve25519:C") + `}},
			"@alice:test":{"PHONE":{` + oneTime("signed_curve25519:D") + `}}}`
		if got := claimOne(t, alice, bob.UserID, "BRIDGE"); got != "signed_curve25519:K0" || keys.claims.Load() != 0 {
			t.Errorf("claimed %q, and the service was asked %d times", got, keys.claims.Load())
		}
		if got := claimOne(t, alice, bob.UserID, "BRIDGE"); got != "signed_curve25519:C" {
			t.Errorf("claimed %q of the service", got)
		}
		if got := keys.asked.Load(); got != `{"@irc_bob:test":{"BRIDGE":["signed_curve25519"]}}` {
			t.Errorf("the service was asked for %s", got)
		}
		for _, wrong := range []string{`{"@irc_bob:test":{"OTHER":{` + oneTime("signed_curve25519:C") + `}}}`, `[]`, `{"@irc_bob:test":null}`} {
			keys.claim = wrong
			if got := claimOne(t, alice, bob.UserID, "BRIDGE"); got != "signed_curve25519:F" {
				t.Errorf("claimed %q instead of the fallback key", got)
			}
		}
		keys.claim = ""
		asked := keys.claims.Load() + 1
		for range 3 {
			claimOne(t, alice, bob.UserID, "BRIDGE")
		}
		if got := keys.claims.Load(); got != asked {
			t.Errorf("a service that knows nothing of it was asked %d times", got-asked+1)
		}
		if claimOne(t, bob, alice.UserID, "PHONE") != "" {
			t.Error("a service has given keys for somebody who is not its own")
		}
	})
}

func TestQueriesGoToTheServiceThatKeepsTheKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s, keys := withService(t, database), &keychain{}
		s.Query = keys.answer
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		bob := s.device("@irc_bob:test", "STORED")
		bob.DeviceID = "STORED"
		uploadKeys(t, bob, 0, 1)
		kept := func(device id.DeviceID, user id.UserID) string {
			raw, err := json.Marshal(identity(user, device))
			if err != nil {
				t.Fatal(err)
			}
			return `"` + string(device) + `":` + string(raw)
		}
		keys.query = `{"device_keys":{"@irc_bob:test":{` + kept("KEPT", bob.UserID) + `,` + kept("STOLEN", alice.UserID) + `,"BROKEN":{}},
				"@alice:test":{` + kept("EVIL", alice.UserID) + `}},
			"master_keys":{"@irc_bob:test":{"user_id":"@irc_bob:test","usage":["master"],"keys":{"ed25519:abc":"abc"}},
				"@alice:test":{"user_id":"@alice:test","usage":["master"],"keys":{"ed25519:evil":"evil"}}},
			"user_signing_keys":{"@irc_bob:test":{"user_id":"@irc_bob:test","usage":["user_signing"],"keys":{"ed25519:def":"def"}}}}`
		res, err := alice.QueryKeys(t.Context(), &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{bob.UserID: {}, alice.UserID: {}}})
		if err != nil {
			t.Fatal(err)
		}
		var devices []string
		for device := range res.DeviceKeys[bob.UserID] {
			devices = append(devices, string(device))
		}
		slices.Sort(devices)
		if !slices.Equal(devices, []string{"KEPT", "STORED"}) || len(res.DeviceKeys[alice.UserID]) != 0 {
			t.Errorf("found devices %q, and of alice %v", devices, res.DeviceKeys[alice.UserID])
		}
		if len(res.MasterKeys) != 1 || res.MasterKeys[bob.UserID].UserID != bob.UserID || len(res.UserSigningKeys) != 0 {
			t.Errorf("found keys %+v and %+v", res.MasterKeys, res.UserSigningKeys)
		}
		if got := keys.asked.Load(); got != `{"@irc_bob:test":[]}` {
			t.Errorf("the service was asked for %s", got)
		}
		own, err := bob.QueryKeys(t.Context(), &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{bob.UserID: {"STORED"}}})
		if err != nil || len(own.DeviceKeys[bob.UserID]) != 1 || len(own.UserSigningKeys) != 1 {
			t.Errorf("bob found %+v, %v", own, err)
		}
	})
}

// A service that hangs delays nobody for long, and then nobody at all.
func TestAServiceThatHangsIsNotAskedForKeysAgain(t *testing.T) {
	s := withService(t, t.TempDir()+"/test.db")
	var asked atomic.Int64
	hang := make(chan struct{})
	defer close(hang)
	s.Query = func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	alice := login(t, s.base, "alice")
	s.register("irc_bob")
	begin := time.Now()
	for range 5 {
		if _, err := alice.QueryKeys(t.Context(), &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{"@irc_bob:test": {}}}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took > 20*time.Second || asked.Load() != 1 {
		t.Errorf("five queries took %v, and the service was asked %d times", took, asked.Load())
	}
}
