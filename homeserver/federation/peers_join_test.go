package federation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// member is a member event, signed.
func member(t *testing.T, v *roomversion.Version, room matrix.RoomID, user matrix.UserID, content string, key matrix.SigningKey) *matrix.Event {
	t.Helper()
	text := string(user)
	e, err := matrix.EventTemplate{
		RoomID: room, Sender: user, Type: "m.room.member", StateKey: &text, Content: json.RawMessage(content), OriginServerTS: 1_700_000_000_000,
		PrevEvents: []matrix.EventID{"$p:x"}, AuthEvents: []matrix.EventID{"$a:x"},
	}.Build(v, user.Server(), key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func changed(e *matrix.Event, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(string(e.JSON()))
}

func TestJoinAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	v := lookup(t, "10")
	join := member(t, v, aRoom, aUser, `{"membership":"join"}`, w.key)
	send := func(answer string) (*federation.JoinAnswer, error) {
		p.set(answers(200, answer))
		return peers.SendJoin(t.Context(), p.name, join)
	}
	others := make([]*matrix.Event, 3)
	for i := range others {
		others[i] = member(t, v, aRoom, matrix.NewUserID(fmt.Sprint("a", i), p.name), `{"membership":"join","displayname":"Ann"}`, p.key)
	}
	elsewhere := member(t, v, "!other:there.example", "@a:there.example", `{"membership":"join"}`, p.key)
	big := strings.Repeat("x", 70_000)
	answer, err := send(`{"servers_in_room":["a.example","a/b",5,"` + big + `"],"members_omitted":false,"event":{"x":1},"state":[` + strings.Join([]string{
		string(others[0].JSON()), string(others[0].JSON()), changed(others[1], `"Ann"`, `"Eve"`), string(elsewhere.JSON()),
		`{}`, `null`, `"x"`, `{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, changed(others[2], `"Ann"`, `"`+big+`"`),
		changed(others[2], `"depth":0`, `"depth":0,"depth":0`), `{"x":"` + strings.Repeat("x", 1<<20) + `"}`,
	}, ",") + `],"auth_chain":[` + changed(others[2], `"type":`, `"unsigned":{"age":"`+big+`"},"type":`) + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids(answer.State), ids(others[:2])) || !slices.Equal(ids(answer.Auth), ids(others[2:])) || answer.LeftOut != 8 || answer.Event != join ||
		!slices.Equal(answer.Servers, []matrix.ServerName{"a.example"}) {
		t.Errorf("%+v", answer)
	}
	if name := string(answer.State[1].Content); name != `{"membership":"join"}` {
		t.Errorf("what its sender has not written is %s", name)
	}
	for what, text := range map[string]string{
		"nothing": ``, "an empty object": `{}`, "no state": `{"auth_chain":[]}`, "no auth chain": `{"state":[]}`, "an error": `{"errcode":"M_FORBIDDEN"}`,
		"state that is an object": `{"state":{},"auth_chain":[]}`, "state twice": `{"state":[],"auth_chain":[],"state":[]}`, "more behind it": `{"state":[],"auth_chain":[]}{}`,
		"members left out": `{"state":[],"auth_chain":[],"members_omitted":true}`, "an end that is missing": `{"state":[],"auth_chain":[{"`, "the old form": `[200,{"state":[],"auth_chain":[]}]`,
	} {
		if answer, err := send(text); !errors.Is(err, federation.ErrAnswer) || matrix.Code(err) != "" {
			t.Errorf("%s: %+v %v", what, answer, err)
		}
	}
	// An answer that breaks off is the fault of the way.
	p.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"state":[],"auth_chain":[`)
	})
	var away *federation.Unreachable
	if _, err := peers.SendJoin(t.Context(), p.name, join); !errors.As(err, &away) || away.Err == nil {
		t.Errorf("half of an answer: %v", err)
	}
}

// Servers of former days have other operations.
func TestOldOperations(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	keys := keysOf(t, p.name, w.now.Add(time.Hour), nil, p.key)
	v := lookup(t, "1")
	join := member(t, v, aRoom, aUser, `{"membership":"join"}`, w.key)
	other := member(t, v, aRoom, "@a:"+matrix.UserID(p.name), `{"membership":"join"}`, p.key)
	invite := member(t, v, aRoom, aUser, `{"membership":"invite"}`, w.key)
	signed, err := invite.Sign(p.name, p.key)
	if err != nil {
		t.Fatal(err)
	}
	for what, refuse := range map[string]http.HandlerFunc{
		"it says so": answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`), "with another status": answers(400, `{"errcode":"M_UNRECOGNIZED","error":"no"}`), "it is not there": http.NotFound,
	} {
		p.set(routes(t, map[string]http.HandlerFunc{
			"GET /_matrix/key/v2/server": answers(200, keys),
			"/_matrix/federation/v2/":    refuse,
			"PUT /_matrix/federation/v1/send_join/{room}/{event}": func(w http.ResponseWriter, r *http.Request) {
				answers(200, `[200,{"state":[`+string(other.JSON())+`],"auth_chain":[]}]`)(w, r)
			},
			"PUT /_matrix/federation/v1/send_leave/{room}/{event}": answers(200, `[200,{}]`),
			"PUT /_matrix/federation/v1/invite/{room}/{event}": func(w http.ResponseWriter, r *http.Request) {
				var asked struct {
					ID       matrix.EventID `json:"event_id"`
					Unsigned struct {
						State []object `json:"invite_room_state"`
					} `json:"unsigned"`
				}
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.ID != invite.ID || len(asked.Unsigned.State) != 1 {
					t.Errorf("%+v %v", asked, err)
				}
				answers(200, `[200,{"event":`+string(signed.JSON())+`}]`)(w, r)
			},
		}))
		if answer, err := peers.SendJoin(t.Context(), p.name, join); err != nil || len(answer.State) != 1 || answer.Event != join {
			t.Errorf("%s: %+v %v", what, answer, err)
		}
		if err := peers.SendLeave(t.Context(), p.name, join); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if e, err := peers.Invite(t.Context(), p.name, invite, []json.RawMessage{[]byte(`{"type":"m.room.create"}`), []byte(`{"x":1.5}`)}); err != nil || string(e.JSON()) != string(signed.JSON()) {
			t.Errorf("%s: %v %v", what, e, err)
		}
		newer := member(t, lookup(t, "3"), aRoom, aUser, `{"membership":"invite"}`, w.key)
		if _, err := peers.Invite(t.Context(), p.name, newer, nil); !errors.As(err, new(*federation.Refusal)) {
			t.Errorf("%s: an invite to a room that such a server knows nothing of: %v", what, err)
		}
	}
	before := p.asked()
	p.set(answers(404, `{"errcode":"M_NOT_FOUND","error":"Unknown room"}`))
	if _, err := peers.SendJoin(t.Context(), p.name, join); !errors.As(err, new(*federation.Refusal)) || p.asked() != before+1 {
		t.Errorf("another refusal: %v", err)
	}
}

// What a server is to sign comes back signed by it, or is worth nothing.
func TestCountersigning(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	v := lookup(t, "10")
	keys := keysOf(t, p.name, w.now.Add(time.Hour), nil, p.key)
	by := `"join_authorised_via_users_server":"@b:` + string(p.name) + `"`
	join := member(t, v, aRoom, aUser, `{"membership":"join","displayname":"Ann",`+by+`}`, w.key)
	invite := member(t, v, aRoom, aUser, `{"membership":"invite","displayname":"Ann"}`, w.key)
	sign := func(e *matrix.Event, key matrix.SigningKey) string {
		signed, err := e.Sign(p.name, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(signed.JSON())
	}
	unpublished, junk := newKey(t), ""
	for i := range 8 {
		junk += fmt.Sprintf(`"ed25519:z%d":%q,`, i, matrix.Base64(make([]byte, 64)))
	}
	for _, e := range []*matrix.Event{join, invite} {
		get := func(returned string) (*matrix.Event, error) {
			p.set(routes(t, map[string]http.HandlerFunc{
				"GET /_matrix/key/v2/server":                          answers(200, keys),
				"PUT /_matrix/federation/v2/send_join/{room}/{event}": answers(200, `{"state":[],"auth_chain":[],"event":`+returned+`}`),
				"PUT /_matrix/federation/v2/invite/{room}/{event}":    answers(200, `{"event":`+returned+`}`),
			}))
			if e == invite {
				return peers.Invite(t.Context(), p.name, e, nil)
			}
			answer, err := peers.SendJoin(t.Context(), p.name, e)
			if err != nil {
				return nil, err
			}
			return answer.Event, nil
		}
		good := sign(e, p.key)
		for what, returned := range map[string]string{
			"signed": good, "redacted": strings.Replace(good, `"displayname":"Ann",`, ``, 1), "another name": strings.Replace(good, `"Ann"`, `"Eve"`, 1),
			"with more":             strings.Replace(good, `"type":`, `"unsigned":{"x":1},"type":`, 1),
			"without our signature": strings.Replace(good, fmt.Sprintf(`"%s":{`, here), `"x.example":{`, 1),
		} {
			got, err := get(returned)
			if err != nil || string(got.JSON()) != good || got.ID != e.ID {
				t.Errorf("%s %s: %v %v", e.Membership(), what, got, err)
			}
		}
		other := member(t, v, aRoom, aUser, `{"membership":"`+e.Membership()+`","displayname":"Bob",`+by+`}`, w.key)
		for what, returned := range map[string]string{
			"nothing": `null`, "no event": `{}`, "not signed": string(e.JSON()), "signed with a key that is not its own": sign(e, unpublished),
			"another event": sign(other, p.key), "another depth": strings.Replace(good, `"depth":0`, `"depth":1`, 1),
			"no base64": strings.Replace(good, `"`+string(p.key.ID)+`":"`, `"`+string(p.key.ID)+`":"!`, 1), "a wrong signature": strings.Replace(sign(other, p.key), `"Bob"`, `"Ann"`, 1),
			"many signatures": strings.Replace(good, `"`+string(p.key.ID)+`":`, junk+`"`+string(p.key.ID)+`":`, 1),
		} {
			if got, err := get(returned); !errors.Is(err, federation.ErrAnswer) || matrix.Code(err) != "" {
				t.Errorf("%s %s: %v %v", e.Membership(), what, got, err)
			}
		}
	}
}
