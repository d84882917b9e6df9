package federation_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	gmsl "github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"trestle/homeserver/federation"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// Another homeserver's library (gomatrixserverlib) finds signatures of requests and keys right, and signs so that
// they are found right here.
func TestAnotherServersLibrary(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Truncate(time.Millisecond)
	p := w.peer(nil)
	p.set(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a, err := federation.ParseAuthorization(r.Header.Get("Authorization"))
		if err != nil {
			t.Error(err)
		}
		content := ""
		if len(body) > 0 {
			content = `,"content":` + string(body)
		}
		object := fmt.Sprintf(`{"method":%q,"uri":%q,"origin":%q,"destination":%q,"signatures":{%q:{%q:%q}}%s}`,
			r.Method, r.RequestURI, a.Origin, p.name, a.Origin, a.Key, a.Signature, content)
		if err := gmsl.VerifyJSON(string(here), gmsl.KeyID(w.key.ID), w.key.Public(), []byte(object)); err != nil {
			t.Errorf("%s: %v", object, err)
		}
		answers(200, `{}`)(rw, r)
	})
	client := w.client()
	for _, uri := range []string{"/_matrix/federation/v1/query/profile?user_id=%40a%3Ab&field=displayname", "/_matrix/x?room_alias=%23%C3%B6+%2B%25:b"} {
		r := get(p)
		r.URI = uri
		if _, err := client.Bytes(t.Context(), r); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		r.Method, r.Content = http.MethodPost, map[string]any{"ö": []any{1, nil, "<&>\u2028"}, "a": map[string]any{}}
		if _, err := client.Bytes(t.Context(), r); err != nil {
			t.Errorf("%s with a body: %v", uri, err)
		}
	}

	keys := gmsl.ServerKeyFields{
		ServerName: spec.ServerName(p.name), ValidUntilTS: spec.AsTimestamp(w.now.Add(time.Hour)),
		VerifyKeys:    map[gmsl.KeyID]gmsl.VerifyKey{gmsl.KeyID(p.key.ID): {Key: spec.Base64Bytes(p.key.Public())}},
		OldVerifyKeys: map[gmsl.KeyID]gmsl.OldVerifyKey{},
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = gmsl.SignJSON(string(p.name), gmsl.KeyID(p.key.ID), p.key.Private, raw); err != nil {
		t.Fatal(err)
	}
	p.set(answers(200, string(raw)))
	ring := w.ring(openDB(t, testkit.SQLite(t)))
	if from, err := ring.Authenticate(t.Context(), presented(t, p.name, here, p.key)); err != nil || from != p.name {
		t.Errorf("its keys: %s %v", from, err)
	}
	own, err := ring.Own()
	if err != nil {
		t.Fatal(err)
	}
	attested, err := ring.Attest(t.Context(), []federation.KeyQuery{{Server: p.name}}, "")
	if err != nil || len(attested) != 1 {
		t.Fatalf("%s %v", attested, err)
	}
	for name, raw := range map[matrix.ServerName]json.RawMessage{here: own, p.name: attested[0]} {
		var said gmsl.ServerKeys
		if err := json.Unmarshal(raw, &said); err != nil {
			t.Fatal(err)
		}
		if checks, found := gmsl.CheckKeys(spec.ServerName(name), w.now, said); !checks.AllChecksOK || len(found) != 1 {
			t.Errorf("the keys of %s: %+v", name, checks)
		}
		if err := gmsl.VerifyJSON(string(here), gmsl.KeyID(w.key.ID), w.key.Public(), raw); err != nil {
			t.Errorf("the keys of %s: %v", name, err)
		}
	}
}
