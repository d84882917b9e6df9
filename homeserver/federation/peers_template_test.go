package federation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const (
	aRoom matrix.RoomID = "!room:there.example"
	aUser matrix.UserID = "@user:" + matrix.UserID(here)
)

// routes answers by method and path, in which * stands for anything.
func routes(t *testing.T, table map[string]http.HandlerFunc) http.HandlerFunc {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, answer := range table {
		mux.HandleFunc(pattern, answer)
	}
	return mux.ServeHTTP
}

func (w *world) peers() *federation.Peers {
	return federation.NewPeers(w.client(), w.ring(openDB(w.t, testkit.SQLite(w.t))))
}

// proposal is an answer with a template, changed.
func proposal(t *testing.T, membership string, change func(answer, event, content object)) string {
	t.Helper()
	content := object{"membership": membership}
	event := object{
		"type": "m.room.member", "room_id": aRoom, "sender": aUser, "state_key": aUser, "depth": 7, "content": content,
		"prev_events": []any{"$p"}, "auth_events": []any{"$a", "$b"}, "origin_server_ts": 5, "unsigned": object{"age": 1}, "origin": "there.example",
	}
	answer := object{"room_version": "10", "event": event}
	if change != nil {
		change(answer, event, content)
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	join := func(answer string) (*federation.Template, error) {
		p.set(answers(200, answer))
		return peers.MakeJoin(t.Context(), p.name, aRoom, aUser, nil)
	}
	template, err := join(proposal(t, "join", func(_, event, content object) {
		content["displayname"], content["avatar_url"], event["redacts"], event["signatures"] = "Fool", "mxc://x/y", "$x", object{"a": 1}
		content["join_authorised_via_users_server"] = "@b:" + string(p.name)
	}))
	if err != nil {
		t.Fatal(err)
	}
	e := template.Event
	if want := fmt.Sprintf(`{"join_authorised_via_users_server":"@b:%s","membership":"join"}`, p.name); string(e.Content) != want {
		t.Errorf("the content is %s", e.Content)
	}
	if e.RoomID != aRoom || e.Sender != aUser || e.Type != "m.room.member" || *e.StateKey != string(aUser) || e.Depth != 7 || e.Redacts != "" ||
		e.OriginServerTS != w.time().UnixMilli() || !slices.Equal(e.PrevEvents, []matrix.EventID{"$p"}) || !slices.Equal(e.AuthEvents, []matrix.EventID{"$a", "$b"}) {
		t.Errorf("%+v", e)
	}
	hash := matrix.Base64(make([]byte, 32))
	template, err = join(proposal(t, "join", func(answer, event, content object) {
		delete(answer, "room_version")
		content["join_authorised_via_users_server"] = "@b:elsewhere.example" // means nothing there
		event["prev_events"], event["auth_events"] = []any{[]any{"$p:x", object{"sha256": hash}}}, []any{[]any{"$a:x", object{}}, "$b:x", []any{"$c:x", object{"sha256": "x"}}}
	}))
	if err != nil || template.Version.ID != "1" || len(template.Event.AuthEvents) != 3 || len(template.Event.ReferenceHashes) != 1 || string(template.Event.Content) != `{"membership":"join"}` {
		t.Errorf("a room of version 1: %+v %v", template, err)
	} else if e, err := template.Event.Build(template.Version, here, w.key); err != nil || !strings.Contains(string(e.JSON()), `"prev_events":[["$p:x",{"sha256":"`+hash+`"}]]`) {
		t.Errorf("%v %v", e, err)
	}

	many := func(n int) (list []any) {
		for i := range n {
			list = append(list, fmt.Sprint("$", i))
		}
		return list
	}
	for what, change := range map[string]func(answer, event, content object){
		"no event":                 func(answer, _, _ object) { delete(answer, "event") },
		"an event that is a list":  func(answer, _, _ object) { answer["event"] = []any{} },
		"a long version":           func(answer, _, _ object) { answer["room_version"] = strings.Repeat("1", 33) },
		"a version that is a list": func(answer, _, _ object) { answer["room_version"] = []any{} },
		"another room":             func(_, event, _ object) { event["room_id"] = "!other:there.example" },
		"no room":                  func(_, event, _ object) { delete(event, "room_id") },
		"another sender":           func(_, event, _ object) { event["sender"] = "@other:" + here },
		"another state key":        func(_, event, _ object) { event["state_key"] = "@other:" + here },
		"no state key":             func(_, event, _ object) { delete(event, "state_key") },
		"another type":             func(_, event, _ object) { event["type"] = "m.room.power_levels" },
		"another membership":       func(_, _, content object) { content["membership"] = "leave" },
		"no membership":            func(_, event, _ object) { delete(event, "content") },
		"a negative depth":         func(_, event, _ object) { event["depth"] = -1 },
		"a large depth":            func(_, event, _ object) { event["depth"] = 1 << 53 },
		"a depth that is a text":   func(_, event, _ object) { event["depth"] = "1" },
		"21 prev_events":           func(_, event, _ object) { event["prev_events"] = many(21) },
		"thousands of prev_events": func(_, event, _ object) { event["prev_events"] = many(5000) },
		"no prev_events":           func(_, event, _ object) { event["prev_events"] = []any{} },
		"11 auth_events":           func(_, event, _ object) { event["auth_events"] = many(11) },
		"one event twice":          func(_, event, _ object) { event["prev_events"] = []any{"$a", "$a"} },
		"IDs that are none":        func(_, event, _ object) { event["auth_events"] = []any{"a"} },
		"IDs that are numbers":     func(_, event, _ object) { event["auth_events"] = []any{1} },
		"IDs that are long":        func(_, event, _ object) { event["auth_events"] = []any{"$" + strings.Repeat("x", 255)} },
		"IDs with NUL":             func(_, event, _ object) { event["auth_events"] = []any{"$\x00"} },
		"pairs":                    func(_, event, _ object) { event["auth_events"] = []any{[]any{"$a", object{}}} },
		"triples": func(answer, event, _ object) {
			answer["room_version"] = "1"
			event["auth_events"] = []any{[]any{"$a", object{}, 1}}
		},
		"empty pairs":               func(answer, event, _ object) { answer["room_version"] = "1"; event["auth_events"] = []any{[]any{}} },
		"a strange authoriser":      func(_, _, content object) { content["join_authorised_via_users_server"] = "@b:elsewhere.example" },
		"an authoriser that is one": func(_, _, content object) { content["join_authorised_via_users_server"] = 1 },
		"no authoriser":             func(_, _, content object) { content["join_authorised_via_users_server"] = "b" },
		"too much":                  func(answer, _, _ object) { answer["x"] = strings.Repeat("x", 300<<10) },
		"a float":                   func(answer, _, _ object) { answer["x"] = 1.5 },
	} {
		if template, err := join(proposal(t, "join", change)); !errors.Is(err, federation.ErrAnswer) || matrix.Code(err) != "" || !federation.TryNext(err) {
			t.Errorf("%s: %+v %v", what, template, err)
		}
	}
	for what, answer := range map[string]string{
		"no JSON": `{"room_version":`, "a list": `[]`, "null": `null`,
		"deep":        `{"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
		"a key twice": strings.Replace(proposal(t, "join", nil), `"sender":`, `"sender":"@other:here.example","sender":`, 1),
	} {
		if template, err := join(answer); !errors.Is(err, federation.ErrAnswer) {
			t.Errorf("%s: %+v %v", what, template, err)
		}
	}
	for _, version := range []string{"", "0", "13", "org.example.strange"} {
		_, err := join(proposal(t, "join", func(answer, _, _ object) { answer["room_version"] = version }))
		if matrix.Code(err) != "M_INCOMPATIBLE_ROOM_VERSION" || federation.TryNext(err) {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

// What is asked for a template is what the specification wants.
func TestAskingForTemplates(t *testing.T) {
	w := newWorld(t)
	var asked []string
	var mu sync.Mutex
	p := w.peer(nil)
	p.set(testkit.SpecServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.RequestURI)
		mu.Unlock()
		membership := strings.TrimPrefix(strings.Split(r.URL.Path, "/")[4], "make_")
		answers(200, proposal(t, membership, nil))(w, r)
	})).ServeHTTP)
	peers := w.peers()
	for what, make := range map[string]func() (*federation.Template, error){
		"join": func() (*federation.Template, error) {
			return peers.MakeJoin(t.Context(), p.name, aRoom, aUser, []string{"9", "10"})
		},
		"knock": func() (*federation.Template, error) {
			return peers.MakeKnock(t.Context(), p.name, aRoom, aUser, []string{"9", "10"})
		},
		"leave": func() (*federation.Template, error) {
			return peers.MakeLeave(t.Context(), p.name, aRoom, aUser, []string{"10"})
		},
	} {
		asked = nil
		template, err := make()
		if err != nil || string(template.Event.Content) != `{"membership":"`+what+`"}` {
			t.Errorf("%s: %+v %v", what, template, err)
		}
		want := "/_matrix/federation/v1/make_" + what + "/%21room:there.example/@user:here.example?ver=9&ver=10"
		if what == "leave" {
			want = strings.TrimSuffix(want, "?ver=9&ver=10")
		}
		if !slices.Equal(asked, []string{want}) {
			t.Errorf("%s: asked was %s", what, asked)
		}
	}
	if _, err := peers.MakeJoin(t.Context(), p.name, aRoom, aUser, []string{"9"}); matrix.Code(err) != "M_INCOMPATIBLE_ROOM_VERSION" {
		t.Errorf("a version that was not asked for: %v", err)
	}
}

// Refusals of other servers are told apart, from each other and from other failures.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	for _, c := range []struct {
		answer http.HandlerFunc
		code   string // for users
		status int
		next   bool
	}{
		{answers(403, `{"errcode":"M_FORBIDDEN","error":"Not invited"}`), "M_FORBIDDEN", 403, false},
		{answers(404, `{"errcode":"M_NOT_FOUND","error":"Unknown room"}`), "M_NOT_FOUND", 404, true},
		{answers(400, `{"errcode":"M_UNABLE_TO_AUTHORISE_JOIN","error":""}`), "M_UNABLE_TO_AUTHORISE_JOIN", 400, true},
		{answers(400, `{"errcode":"M_UNABLE_TO_GRANT_JOIN","error":""}`), "M_UNABLE_TO_GRANT_JOIN", 400, true},
		{answers(400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"","room_version":"99"}`), "M_INCOMPATIBLE_ROOM_VERSION", 400, false},
		{answers(400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"","room_version":[1]}`), "M_INCOMPATIBLE_ROOM_VERSION", 400, false},
		{answers(400, `{"errcode":"M_INVALID_PARAM","error":""}`), "M_UNKNOWN", 502, true},
		{answers(400, `{"errcode":"M_MISSING_PARAM","error":""}`), "M_UNKNOWN", 502, true},
		{answers(429, `{"errcode":"M_LIMIT_EXCEEDED","error":"","retry_after_ms":2000}`), "M_LIMIT_EXCEEDED", 429, true},
		{answers(302, `{"errcode":"M_FORBIDDEN","error":""}`), "M_UNKNOWN", 502, false},
		{answers(500, `{"errcode":"M_UNKNOWN","error":""}`), "M_UNKNOWN", 502, true},
		{answers(404, `nothing`), "M_UNKNOWN", 502, true},
		{answers(200, `{}`), "M_UNKNOWN", 502, true},
		{answers(502, ``), "M_UNKNOWN", 502, true},
	} {
		p.set(c.answer)
		w.pass(2 * time.Hour)
		_, err := peers.MakeJoin(t.Context(), p.name, aRoom, aUser, []string{"1", "10"})
		said := federation.ForUser(p.name, err)
		var e *matrix.Error
		if !errors.As(said, &e) || e.Code != c.code || e.Status != c.status || federation.TryNext(err) != c.next {
			t.Errorf("%v is told as %v; another server: %v", err, said, federation.TryNext(err))
		}
	}
	p.set(answers(400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"","room_version":"99"}`))
	w.pass(2 * time.Hour)
	_, err := peers.MakeJoin(t.Context(), p.name, aRoom, aUser, nil)
	var e *matrix.Error
	if !errors.As(federation.ForUser(p.name, err), &e) || e.Extra["room_version"] != "99" {
		t.Errorf("%+v", e)
	}
	_, err = peers.MakeJoin(t.Context(), here, aRoom, aUser, nil)
	if !errors.Is(err, federation.ErrDenied) || matrix.Code(federation.ForUser(here, err)) != "M_FORBIDDEN" || !federation.TryNext(err) {
		t.Errorf("this server: %v", err)
	}
	if federation.TryNext(nil) || federation.TryNext(t.Context().Err()) || federation.TryNext(io.EOF) || federation.ForUser(here, nil) != nil {
		t.Error("no error, or none of asking")
	}
}
