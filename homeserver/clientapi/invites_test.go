package clientapi_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A registry is an identity server that knows who has which address, keeps
// invites and signs for those who accept them.
type registry struct {
	t         *testing.T
	name      string
	key       matrix.SigningKey // the ephemeral one
	authority string            // a file with its certificate

	mu      sync.Mutex
	pepper  int
	rotates bool              // the pepper changes before the next look-up
	clear   bool              // knows addresses in clear only
	users   map[string]string // address → user
	stored  []map[string]string
	offer   string // what store-invite answers; empty: an offer
	revoked bool   // the key is not valid any more
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{t: t, key: key, users: map[string]string{}}
	listener := httptest.NewTLSServer(r)
	t.Cleanup(listener.Close)
	r.name = strings.TrimPrefix(listener.URL, "https://")
	r.authority = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listener.Certificate().Raw})
	if err := os.WriteFile(r.authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// trusted makes a homeserver trust it.
func (r *registry) trusted(c *config.Config) {
	c.CAFile, c.Accounts.IdentityServers = r.authority, []string{r.name}
}

func (r *registry) public() string {
	return base64.RawURLEncoding.EncodeToString(r.key.Private.Public().(ed25519.PublicKey))
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body := map[string]any{}
	if q.Method == http.MethodPost {
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
			r.t.Errorf("%s: %v", q.URL, err)
		}
	}
	open := strings.HasSuffix(q.URL.Path, "/isvalid")
	if !open && q.Header.Get("Authorization") != "Bearer id-token" {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"errcode":"M_UNAUTHORIZED","error":"No."}`)
		return
	}
	r.answer(w, q, body)
}

func (r *registry) answer(w http.ResponseWriter, q *http.Request, body map[string]any) {
	switch q.URL.Path {
	case "/_matrix/identity/v2/hash_details":
		fmt.Fprintf(w, `{"lookup_pepper":"pepper%d","algorithms":[%q]}`, r.pepper, map[bool]string{true: "none", false: "sha256"}[r.clear])
		if r.rotates {
			r.pepper, r.rotates = r.pepper+1, false
		}
	case "/_matrix/identity/v2/lookup":
		r.lookup(w, body)
	case "/_matrix/identity/v2/store-invite":
		if r.offer != "" {
			fmt.Fprint(w, r.offer)
			return
		}
		stored := map[string]string{}
		for key, value := range body {
			stored[key] = fmt.Sprint(value)
		}
		r.stored = append(r.stored, stored)
		url := "https://" + r.name + "/_matrix/identity/v2/pubkey/ephemeral/isvalid"
		fmt.Fprintf(w, `{"token":"token%d","display_name":"c...@e...","public_keys":[{"public_key":%q,"key_validity_url":%q}]}`, len(r.stored), r.public(), url)
	case "/_matrix/identity/v2/pubkey/ephemeral/isvalid":
		fmt.Fprintf(w, `{"valid":%v}`, !r.revoked && q.URL.Query().Get("public_key") == r.public())
	case "/_matrix/identity/v2/3pid/bind":
		r.users[fmt.Sprint(body["sid"])] = fmt.Sprint(body["mxid"])
		fmt.Fprintf(w, `{"medium":"email","address":%q,"mxid":"x","not_before":1,"not_after":2,"ts":1,"signatures":{}}`, body["sid"])
	default:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"errcode":"M_UNRECOGNIZED","error":"No."}`)
	}
}

func (r *registry) lookup(w http.ResponseWriter, body map[string]any) {
	if body["pepper"] != fmt.Sprint("pepper", r.pepper) {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"errcode":"M_INVALID_PEPPER","error":"No."}`)
		return
	}
	found := map[string]string{}
	for address, user := range r.users {
		key := address + " email"
		if !r.clear {
			hash := sha256.Sum256([]byte(key + " " + fmt.Sprint(body["pepper"])))
			key = base64.RawURLEncoding.EncodeToString(hash[:])
		}
		if list, _ := body["addresses"].([]any); len(list) == 1 && list[0] == key {
			found[key] = user
		}
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"mappings": found}); err != nil {
		r.t.Error(err)
	}
}

func (r *registry) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// kept is the newest invite that it keeps.
func (r *registry) kept() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.stored) == 0 {
		r.t.Fatal("no invite is kept")
	}
	return r.stored[len(r.stored)-1]
}

// sign is third_party_signed.
func (r *registry) sign(user, sender, token string) object {
	raw, err := json.Marshal(map[string]string{"mxid": user, "sender": sender, "token": token})
	if err != nil {
		r.t.Fatal(err)
	}
	signed, err := matrix.SignJSON(raw, matrix.ServerName(r.name), r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	var proof object
	if err := json.Unmarshal(signed, &proof); err != nil {
		r.t.Fatal(err)
	}
	return proof
}

func (r *registry) address(mail string) object {
	return object{"id_server": r.name, "id_access_token": "id-token", "medium": "email", "address": mail}
}

func (d *device) membership(room, user string) string {
	d.t.Helper()
	r := d.do("GET", v3+"/rooms/"+room+"/state/m.room.member/"+user, nil)
	return r.field("membership")
}

func TestInvitesByAddress(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ids := newRegistry(t)
		s := newWholeServer(t, database, ids.trusted)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.must("POST", v3+"/createRoom", object{"name": "The Hall"}).field("room_id")
		invite := v3 + "/rooms/" + room + "/invite"

		// An address that is known is an invite like any other.
		ids.set(func() { ids.users["bob@example.org"], ids.rotates = bob.user, true })
		alice.must("POST", invite, ids.address(" Bob@example.org"))
		if m := alice.membership(room, bob.user); m != "invite" {
			t.Errorf("bob's membership is %q", m)
		}
		ids.set(func() { ids.clear = true })
		alice.refused("POST", invite, object{"id_server": ids.name, "id_access_token": "wrong", "medium": "email", "address": "c@example.org"}, 403, "M_UNAUTHORIZED")

		// One that is not known is kept, until somebody can prove it.
		alice.must("POST", invite, ids.address("carol@example.org"))
		if k := ids.kept(); k["address"] != "carol@example.org" || k["room_id"] != room || k["sender"] != alice.user || k["room_name"] != "The Hall" || k["room_join_rules"] != "invite" {
			t.Errorf("kept: %v", k)
		}
		offer := alice.must("GET", v3+"/rooms/"+room+"/state/m.room.third_party_invite/token1", nil)
		if offer.field("display_name") != "c...@e..." || offer.field("public_key") != ids.public() {
			t.Errorf("%s", offer.body)
		}
		join := v3 + "/rooms/" + room + "/join"
		proof := ids.sign(carol.user, alice.user, "token1")
		for name, wrong := range map[string]object{
			"another's":        ids.sign(bob.user, alice.user, "token1"),
			"another sender":   ids.sign(carol.user, bob.user, "token1"),
			"a foreign sender": ids.sign(carol.user, "@a:elsewhere.example", "token1"),
			"another token":    ids.sign(carol.user, alice.user, "token2"),
			"not signed":       {"mxid": carol.user, "sender": alice.user, "token": "token1", "signatures": object{}},
			"changed":          {"mxid": carol.user, "sender": alice.user, "token": "token1", "more": 1, "signatures": proof["signatures"]},
		} {
			r := carol.do("POST", join, object{"third_party_signed": wrong})
			if r.status != 403 || r.field("errcode") != "M_FORBIDDEN" {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		ids.set(func() { ids.revoked = true })
		carol.refused("POST", join, object{"third_party_signed": proof}, 403, "M_FORBIDDEN")
		ids.set(func() { ids.revoked = false })
		(&device{wholeServer: s.plain(), token: carol.token}).refused("POST", join, object{"third_party_signed": "x"}, 400, "M_BAD_JSON")
		carol.must("POST", join, object{"third_party_signed": proof})
		events := carol.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=2", nil)
		if !strings.Contains(events.body, `"third_party_invite":{"display_name":"c...@e..."`) || alice.membership(room, carol.user) != "join" {
			t.Errorf("%s", events.body)
		}
		carol.must("POST", join, object{"third_party_signed": proof}) // in already
	})
}

func TestInvitesByAddressRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ids := newRegistry(t)
		s := newWholeServer(t, database, ids.trusted)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		invite := v3 + "/rooms/" + room + "/invite"
		alice.setState(room, "m.room.power_levels", "", object{"users": object{}, "invite": 50})
		bob.refused("POST", invite, ids.address("c@example.org"), 403, "M_FORBIDDEN")
		s.person("carol").refused("POST", invite, ids.address("c@example.org"), 403, "M_FORBIDDEN")
		s.guest().refused("POST", invite, ids.address("c@example.org"), 403, "M_GUEST_ACCESS_FORBIDDEN")
		if len(ids.stored) > 0 {
			t.Errorf("kept all the same: %v", ids.stored)
		}
		elsewhere := ids.address("c@example.org")
		elsewhere["id_server"] = "evil.example"
		alice.refused("POST", invite, elsewhere, 400, "M_SERVER_NOT_TRUSTED")
		alice.refused("POST", invite, ids.address("nonsense"), 400, "M_INVALID_PARAM")
		fax := ids.address("c@example.org")
		fax["medium"] = "fax"
		alice.refused("POST", invite, fax, 400, "M_INVALID_PARAM")
		delete(fax, "id_access_token")
		alice.refused("POST", invite, fax, 400, "M_MISSING_PARAM")
		for _, offer := range []string{
			`[]`, `{}`, `{"token":"a b","display_name":"x","public_keys":[{"public_key":"` + ids.public() + `"}]}`,
			`{"token":"ab","display_name":"x","public_keys":[{"public_key":"short"}]}`, `{"token":"ab","display_name":"x","public_keys":[]}`,
		} {
			ids.set(func() { ids.offer = offer })
			alice.refused("POST", invite, ids.address("c@example.org"), 502, "M_UNKNOWN")
		}
	})
}

// A room is made with invites to addresses, or not at all.
func TestCreateRoomWithAddresses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ids := newRegistry(t)
		s := newWholeServer(t, database, ids.trusted)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		ids.set(func() { ids.users["bob@example.org"] = bob.user })
		room := alice.must("POST", v3+"/createRoom", object{
			"name": "The Hall", "is_direct": true, "invite_3pid": []object{ids.address("bob@example.org"), ids.address("carol@example.org")},
		}).field("room_id")
		if alice.membership(room, bob.user) != "invite" || ids.kept()["room_id"] != room || ids.kept()["room_name"] != "The Hall" {
			t.Errorf("%v", ids.stored)
		}
		// The one who proves the address later is invited at once.
		carol.must("POST", v3+"/account/3pid/bind", object{"id_server": ids.name, "id_access_token": "id-token", "sid": "carol@example.org", "client_secret": "s"})
		if m := alice.membership(room, carol.user); m != "invite" {
			t.Errorf("carol's membership is %q", m)
		}
		if offer := alice.must("GET", v3+"/rooms/"+room+"/state/m.room.third_party_invite/token1", nil); offer.body != "{}" {
			t.Errorf("still offered: %s", offer.body)
		}
		carol.refused("POST", v3+"/rooms/"+room+"/kick", object{"user_id": bob.user}, 403, "M_FORBIDDEN")
		carol.join(room)

		ids.set(func() { ids.offer = "nonsense" })
		before := len(alice.must("GET", v3+"/joined_rooms", nil).texts("joined_rooms"))
		alice.refused("POST", v3+"/createRoom", object{"invite_3pid": []object{ids.address("dave@example.org")}}, 502, "M_UNKNOWN")
		alice.refused("POST", v3+"/createRoom", object{"invite_3pid": []object{{"id_server": ids.name}}}, 400, "M_MISSING_PARAM")
		if after := len(alice.must("GET", v3+"/joined_rooms", nil).texts("joined_rooms")); after != before {
			t.Error("a room is there without its invites")
		}
	})
}

// Nobody is asked where the operator trusts nobody.
func TestNoIdentityServer(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db")
	alice := s.person("alice")
	room := alice.room()
	address := object{"id_server": "evil.example", "id_access_token": "t", "medium": "email", "address": "a@example.org"}
	alice.refused("POST", v3+"/rooms/"+room+"/invite", address, 400, "M_SERVER_NOT_TRUSTED")
	alice.refused("POST", v3+"/createRoom", object{"invite_3pid": []object{address}}, 400, "M_SERVER_NOT_TRUSTED")
}
