package clientapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// Every operation of the specification answers nonsense with the error that
// the specification has for it, and nothing makes the server fail.
func TestEveryOperation(t *testing.T) {
	operations := testkit.SpecOperations(t)
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		room := alice.must("POST", v3+"/createRoom", `{"room_alias_name":"hall"}`).field("room_id")
		event := alice.say(room, "hello")
		// Requests that break the specification are the point here.
		plain := &wholeServer{t: s.t, url: s.url, http: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		alice.wholeServer = plain
		routed := 0
		for i, op := range operations {
			if op.API != "client-server" {
				continue
			}
			a := attack{SpecOperation: op, path: validPath(op.Path, room, event, alice.user), nobody: &device{wholeServer: plain}}
			name := op.Method + " " + op.Path
			missing := a.unrecognized()
			if listed := slices.Contains(notRouted, name); listed != missing {
				t.Errorf("%s: not routed is %v, and on the list of those not routed is %v", name, missing, listed)
			}
			if missing {
				continue
			}
			routed++
			a.user = alice.another(fmt.Sprint("D", i))
			a.tokens(t)
			a.bodies(t)
			a.unknown(t)
			guest := plain.guest()
			a.check(t, "a guest", guest.do(op.Method, a.path, `{}`))
		}
		t.Logf("%d operations are routed, %d are not", routed, len(notRouted))
	})
}

func validPath(path, room, event, user string) string {
	return strings.NewReplacer("{roomId}", room, "{roomIdOrAlias}", room, "{eventId}", event, "{roomAlias}", "%23hall:hs.example",
		"{userId}", user, "{eventType}", "x.type", "{receiptType}", "m.read", "{keyName}", "displayname", "{kind}", "override",
		"{version}", "1", "{serverName}", "hs.example").Replace(path)
}

// An attack is the wrong requests to one operation.
type attack struct {
	testkit.SpecOperation
	path   string // with valid parameters, as far as there are any
	nobody *device
	user   *device
}

func (a *attack) unrecognized() bool {
	r := a.nobody.do(a.Method, a.filled("x"), nil)
	return r.field("errcode") == "M_UNRECOGNIZED" && (r.status == 404 || r.status == 405)
}

// filled is the path with a value for the parameters that have none.
func (a *attack) filled(value string) string {
	parts := strings.Split(a.path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = value
		}
	}
	path := strings.Join(parts, "/")
	for i, name := range a.Query {
		path += string("?&"[min(i, 1)]) + name + "=1"
	}
	return path
}

// check holds any answer against what all have to be.
func (a *attack) check(t *testing.T, what string, r reply) {
	t.Helper()
	challenge := r.status == 401 && r.at("flows") != nil
	switch {
	case r.status >= 500:
	case r.status >= 400 && !challenge && (!strings.HasPrefix(r.field("errcode"), "M_") || r.field("error") == ""):
	case r.field("errcode") == "M_UNRECOGNIZED" && !strings.Contains(a.Path, "{") && r.status == 404:
	default:
		return
	}
	t.Errorf("%s %s with %s: %d %.300s", a.Method, a.Path, what, r.status, r.body)
}

func (a *attack) tokens(t *testing.T) {
	t.Helper()
	path := a.filled("x")
	none, wrong := a.nobody.do(a.Method, path, `{}`), (&device{wholeServer: a.nobody.wholeServer, token: "wrong"}).do(a.Method, path, `{}`)
	a.check(t, "no token", none)
	a.check(t, "a wrong token", wrong)
	if !a.Token {
		return
	}
	if none.status != 401 || none.field("errcode") != "M_MISSING_TOKEN" {
		t.Errorf("%s %s with no token: %d %.300s", a.Method, a.Path, none.status, none.body)
	}
	if wrong.status != 401 || wrong.field("errcode") != "M_UNKNOWN_TOKEN" {
		t.Errorf("%s %s with a wrong token: %d %.300s", a.Method, a.Path, wrong.status, wrong.body)
	}
}

// bodies sends what is no JSON, no object, or an object with wrong members.
func (a *attack) bodies(t *testing.T) {
	t.Helper()
	if !a.JSON {
		return
	}
	path := a.filled("x")
	// Who may not do it at all is told that, whatever the body is.
	barred := a.user.do(a.Method, path, `{}`)
	a.check(t, "an empty object", barred)
	for body, code := range map[string]string{
		"{": "M_NOT_JSON", "nonsense": "M_NOT_JSON", "{\"a\":\"\x81\"}": "M_NOT_JSON", "[]": "M_BAD_JSON", `"text"`: "M_BAD_JSON", "null": "M_BAD_JSON",
	} {
		r := a.user.do(a.Method, path, body)
		a.check(t, body, r)
		if barred.status != 403 && (r.status != 400 || r.field("errcode") != code) {
			t.Errorf("%s %s with %q: %d %.300s, want %s", a.Method, a.Path, body, r.status, r.body, code)
		}
	}
	for _, f := range a.Fields {
		for _, value := range f.Wrong() {
			body := fmt.Sprintf("{%q:%s}", f.Name, value)
			r := a.user.do(a.Method, path, body)
			a.check(t, body, r)
			if f.Required && r.status < 300 {
				t.Errorf("%s %s with %s: %d %.300s", a.Method, a.Path, body, r.status, r.body)
			}
		}
		if f.Required && barred.status < 300 {
			t.Errorf("%s %s without %s: %d %.300s", a.Method, a.Path, f.Name, barred.status, barred.body)
		}
	}
}

// unknown asks for what is not there, and for what cannot be.
func (a *attack) unknown(t *testing.T) {
	t.Helper()
	if !strings.Contains(a.Path, "{") {
		return
	}
	for _, value := range []string{"nothing", "%00", "%F0%28", strings.Repeat("x", 300)} {
		path := strings.NewReplacer("{roomId}", "!"+value+":hs.example", "{roomIdOrAlias}", "%23"+value+":hs.example", "{eventId}", "$"+value,
			"{roomAlias}", "%23"+value+":hs.example", "{userId}", "@"+value+":hs.example").Replace(a.Path)
		parts := strings.Split(path, "/")
		for i, part := range parts {
			if strings.HasPrefix(part, "{") {
				parts[i] = value
			}
		}
		path = strings.Join(parts, "/")
		a.check(t, path, a.user.do(a.Method, path, `{}`))
	}
}
