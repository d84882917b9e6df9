package homeserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	gmsl "github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
)

const fed2 = "/_matrix/federation/v2"

// A visitor is a stranger that joins rooms as another homeserver's library (gomatrixserverlib) has it done.
type visitor struct {
	*stranger
	to *federated
}

type proposed struct {
	Event       gmsl.ProtoEvent  `json:"event"`
	RoomVersion gmsl.RoomVersion `json:"room_version"`
}

func (p *proposed) GetJoinEvent() gmsl.ProtoEvent    { return p.Event }
func (p *proposed) GetRoomVersion() gmsl.RoomVersion { return p.RoomVersion }

type entered struct {
	State   gmsl.EventJSONs `json:"state"`
	Auth    gmsl.EventJSONs `json:"auth_chain"`
	Event   spec.RawJSON    `json:"event"`
	Omitted bool            `json:"members_omitted"`
}

func (e *entered) GetAuthEvents() gmsl.EventJSONs  { return e.Auth }
func (e *entered) GetStateEvents() gmsl.EventJSONs { return e.State }
func (e *entered) GetOrigin() spec.ServerName      { return "" }
func (e *entered) GetJoinEvent() spec.RawJSON      { return e.Event }
func (e *entered) GetMembersOmitted() bool         { return e.Omitted }
func (e *entered) GetServersInRoom() []string      { return nil }

func (v visitor) ask(c demand, into any) error {
	status, text, _ := v.call(v.to, c)
	if status != 200 {
		return fmt.Errorf("%d %s", status, text)
	}
	return json.Unmarshal([]byte(text), into)
}

// MakeJoin implements gmsl.FederatedJoinClient, as does SendJoin.
func (v visitor) MakeJoin(_ context.Context, _, _ spec.ServerName, room, user string) (gmsl.MakeJoinResponse, error) {
	p := new(proposed)
	return p, v.ask(demand{uri: makeURI("join", room, user) + "?ver=1&ver=2&ver=6&ver=10&ver=11&ver=12"}, p)
}

func (v visitor) SendJoin(_ context.Context, _, _ spec.ServerName, e gmsl.PDU) (gmsl.SendJoinResponse, error) {
	s := new(entered)
	return s, v.ask(demand{method: "PUT", uri: sendURI(fed2, "join", e.RoomID().String(), e.EventID()), content: string(e.JSON())}, s)
}

func makeURI(membership, room, user string) string {
	return fed + "/make_" + membership + "/" + url.PathEscape(room) + "/" + url.PathEscape(user)
}

func sendURI(base, membership, room, event string) string {
	return base + "/send_" + membership + "/" + url.PathEscape(room) + "/" + url.PathEscape(event)
}

// FetcherName implements gmsl.KeyDatabase, as do the next ones.
func (v visitor) FetcherName() string { return "test" }

func (v visitor) FetchKeys(_ context.Context, requests map[gmsl.PublicKeyLookupRequest]spec.Timestamp) (map[gmsl.PublicKeyLookupRequest]gmsl.PublicKeyLookupResult, error) {
	found := map[gmsl.PublicKeyLookupRequest]gmsl.PublicKeyLookupResult{}
	for r := range requests {
		key := gmsl.VerifyKey{Key: spec.Base64Bytes(v.key.Public())}
		if string(r.ServerName) == v.to.name {
			var keys gmsl.ServerKeys
			if err := v.ask(demand{uri: "/_matrix/key/v2/server", header: func(string) string { return unsigned }}, &keys); err != nil {
				return nil, err
			}
			key = keys.VerifyKeys[r.KeyID]
		} else if string(r.ServerName) != v.name {
			continue
		}
		found[r] = gmsl.PublicKeyLookupResult{VerifyKey: key, ExpiredTS: gmsl.PublicKeyNotExpired, ValidUntilTS: spec.AsTimestamp(time.Now().Add(time.Hour))}
	}
	return found, nil
}

func (v visitor) StoreKeys(context.Context, map[gmsl.PublicKeyLookupRequest]gmsl.PublicKeyLookupResult) error {
	return nil
}

// enter joins a room.
func (v visitor) enter(room id.RoomID, user string) (*gmsl.PerformJoinResponse, error) {
	v.t.Helper()
	who, err := spec.NewUserID(user, true)
	if err != nil {
		v.t.Fatal(err)
	}
	where, err := spec.NewRoomID(room.String())
	if err != nil {
		v.t.Fatal(err)
	}
	res, failed := gmsl.PerformJoin(v.t.Context(), v, gmsl.PerformJoinInput{
		UserID: who, RoomID: where, ServerName: spec.ServerName(v.to.name), Content: map[string]any{"displayname": "Zoë"},
		PrivateKey: v.key.Private, KeyID: gmsl.KeyID(v.key.ID), KeyRing: &gmsl.KeyRing{KeyDatabase: v},
		EventProvider: func(gmsl.RoomVersion, []string) ([]gmsl.PDU, error) { return nil, nil },
		UserIDQuerier: func(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
			return spec.NewUserID(string(sender), true)
		},
	})
	if failed != nil {
		return nil, failed
	}
	return res, nil
}

// Another homeserver's library comes into rooms of this server, of all versions, and finds right what it is told of them.
func TestStrangersJoin(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		for _, version := range []string{"1", "2", "6", "10", "11", "12"} {
			room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat", RoomVersion: id.RoomVersion(version), Name: "Hall"})
			if err != nil {
				t.Fatal(err)
			}
			zoe := "@zoe:" + v.name
			joined, err := v.enter(room.RoomID, zoe)
			if err != nil {
				t.Errorf("version %s: %v", version, err)
				continue
			}
			state := joined.StateSnapshot.GetStateEvents().UntrustedEvents(gmsl.RoomVersion(version))
			if len(state) < 6 || slices.ContainsFunc(state, func(e gmsl.PDU) bool { return e.StateKeyEquals(zoe) }) {
				t.Errorf("version %s: the state before is %d events", version, len(state))
			}
			// A friend comes after, with a newer state.
			if joined, err = v.enter(room.RoomID, "@yan:"+v.name); err != nil {
				t.Errorf("version %s: %v", version, err)
				continue
			}
			if now := joined.StateSnapshot.GetStateEvents(); len(now) != len(state)+1 {
				t.Errorf("version %s: the state is of %d events after %d", version, len(now), len(state))
			}
			members, err := bob.JoinedMembers(ctx, room.RoomID)
			if err != nil || len(members.Joined) != 3 || members.Joined[id.UserID(zoe)].DisplayName != "Zoë" {
				t.Errorf("version %s: the members are %+v, %v", version, members, err)
			}
			sent, err := bob.SendMessageEvent(ctx, room.RoomID, event.EventMessage, map[string]any{"msgtype": "m.text", "body": "Welcome!"})
			if err != nil {
				t.Fatal(err)
			}
			var transaction struct {
				PDUs []json.RawMessage `json:"pdus"`
			}
			if err := v.ask(demand{uri: fed + "/event/" + url.PathEscape(sent.EventID.String())}, &transaction); err != nil || len(transaction.PDUs) != 1 {
				t.Errorf("version %s: who is in is told %v, %v", version, transaction, err)
			}
		}
	})
}

// proposal asks for a member event.
func (v visitor) proposal(membership string, room id.RoomID, user string) (matrix.EventTemplate, *roomversion.Version) {
	v.t.Helper()
	var p struct {
		Version string `json:"room_version"`
		Event   struct {
			RoomID     matrix.RoomID     `json:"room_id"`
			Sender     matrix.UserID     `json:"sender"`
			Type       string            `json:"type"`
			StateKey   *string           `json:"state_key"`
			Content    json.RawMessage   `json:"content"`
			TS         int64             `json:"origin_server_ts"`
			Depth      int64             `json:"depth"`
			PrevEvents []matrix.EventID  `json:"prev_events"`
			AuthEvents []matrix.EventID  `json:"auth_events"`
			Hashes     map[string]string `json:"hashes"`
			Signatures map[string]any    `json:"signatures"`
		} `json:"event"`
	}
	uri := makeURI(membership, room.String(), user)
	if membership != "leave" {
		uri += "?ver=10&ver=11&ver=12"
	}
	v.told(v.to, demand{uri: uri}, 200, "", &p)
	version, ok := roomversion.Lookup(p.Version)
	if e := p.Event; !ok || e.Type != "m.room.member" || e.StateKey == nil || *e.StateKey != user || string(e.Sender) != user || e.TS == 0 || e.Hashes != nil || e.Signatures != nil {
		v.t.Fatalf("what is proposed is %+v", p)
	}
	e := p.Event
	return matrix.EventTemplate{
		RoomID: e.RoomID, Sender: e.Sender, Type: e.Type, StateKey: e.StateKey, Content: e.Content, OriginServerTS: e.TS,
		Depth: e.Depth, PrevEvents: e.PrevEvents, AuthEvents: e.AuthEvents,
	}, version
}

func (v visitor) sign(template matrix.EventTemplate, version *roomversion.Version) *matrix.Event {
	v.t.Helper()
	e, err := template.Build(version, matrix.ServerName(v.name), v.key)
	if err != nil {
		v.t.Fatal(err)
	}
	return e
}

// send has an event sent, and says what is answered.
func (v visitor) send(base, membership string, e *matrix.Event) (int, string) {
	v.t.Helper()
	status, text, _ := v.call(v.to, demand{method: "PUT", uri: sendURI(base, membership, string(e.RoomID), string(e.ID)), content: string(e.JSON())})
	return status, text
}

// What is sent has to be what was proposed.
func TestStrangersSendWhatIsNotProposed(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v, other := visitor{newStranger(t, authority), there}, visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat", RoomVersion: "10", Name: "Hall"})
		if err != nil {
			t.Fatal(err)
		}
		charlie, doris := "@charlie:"+v.name, "@doris:"+v.name
		if _, err := v.enter(room.RoomID, charlie); err != nil {
			t.Fatal(err)
		}
		template, version := v.proposal("join", room.RoomID, doris)
		if status, text := v.send(fed, "join", v.sign(template, version)); status != 200 || !strings.HasPrefix(text, "[200,{") || !strings.HasSuffix(text, "}]") {
			t.Errorf("by v1: %d %s", status, text)
		}
		text := func(s string) *string { return &s }
		with := func(change func(*matrix.EventTemplate)) *matrix.Event {
			changed := template
			change(&changed)
			return v.sign(changed, version)
		}
		memberOf := func(membership string) func(*matrix.EventTemplate) {
			return func(e *matrix.EventTemplate) { e.Content = fmt.Appendf(nil, `{"membership":%q}`, membership) }
		}
		for _, kind := range []string{"join", "leave", "knock"} {
			for _, c := range []struct {
				what   string
				event  *matrix.Event
				status int
				code   string
			}{
				{"a message", with(func(e *matrix.EventTemplate) {
					e.Type, e.StateKey, e.Content = "m.room.message", nil, json.RawMessage(`{"body":"bzz"}`)
				}), 400, "M_INVALID_PARAM"},
				{"a member that is no state", with(func(e *matrix.EventTemplate) { e.StateKey = nil }), 400, "M_INVALID_PARAM"},
				{"another state key", with(func(e *matrix.EventTemplate) {
					memberOf(kind)(e)
					e.StateKey = text(charlie)
				}), 400, "M_INVALID_PARAM"},
				{"an invite", with(memberOf("invite")), 400, "M_INVALID_PARAM"},
				{"no membership", with(memberOf("")), 400, "M_INVALID_PARAM"},
				{"another room", with(func(e *matrix.EventTemplate) {
					memberOf(kind)(e)
					e.RoomID = "!other:" + matrix.RoomID(there.name)
				}), 404, "M_NOT_FOUND"},
			} {
				if status, text := v.send(fed2, kind, c.event); kind != "knock" && (status != c.status || !strings.Contains(text, c.code)) {
					t.Errorf("%s as a %s: %d %s", c.what, kind, status, text)
				}
				if status, text := v.send(fed, kind, c.event); status != c.status || !strings.Contains(text, c.code) {
					t.Errorf("%s as a %s by v1: %d %s", c.what, kind, status, text)
				}
			}
			for _, membership := range []string{"join", "leave", "knock"} {
				if membership == kind {
					continue
				}
				if status, text := v.send(fed, kind, with(memberOf(membership))); status != 400 || !strings.Contains(text, "M_INVALID_PARAM") {
					t.Errorf("a %s as a %s: %d %s", membership, kind, status, text)
				}
			}
		}

		zoe := "@zoe:" + v.name
		if template, version = v.proposal("join", room.RoomID, zoe); len(template.AuthEvents) == 0 || len(template.PrevEvents) == 0 {
			t.Errorf("a join comes after %v by %v", template.PrevEvents, template.AuthEvents)
		}
		good := with(func(*matrix.EventTemplate) {})
		changed := func(change func(map[string]json.RawMessage)) string {
			members := map[string]json.RawMessage{}
			if err := json.Unmarshal(good.JSON(), &members); err != nil {
				t.Fatal(err)
			}
			change(members)
			raw, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		sign := func(to visitor, e matrix.EventTemplate) *matrix.Event { return to.sign(e, version) }
		forged, theirs := sign(other, template), template
		theirs.Sender, theirs.StateKey = matrix.UserID("@zoe:"+other.name), text("@zoe:"+other.name)
		replayed := sign(other, theirs)
		uri := sendURI(fed2, "join", string(good.RoomID), string(good.ID))
		for _, c := range []struct {
			what, uri, content string
			status             int
			code               string
		}{
			{"another event", sendURI(fed2, "join", string(good.RoomID), string(forged.ID)+"x"), string(good.JSON()), 400, "M_INVALID_PARAM"},
			{"no signature", uri, changed(func(m map[string]json.RawMessage) { delete(m, "signatures") }), 403, "M_FORBIDDEN"},
			{"no hash", uri, changed(func(m map[string]json.RawMessage) { delete(m, "hashes") }), 403, "M_FORBIDDEN"},
			{"a wrong signature", uri, changed(func(m map[string]json.RawMessage) {
				m["signatures"] = fmt.Appendf(nil, `{%q:{%q:%q}}`, v.name, v.key.ID, strings.Repeat("a", 86))
			}), 403, "M_FORBIDDEN"},
			{"another server's signature", sendURI(fed2, "join", string(good.RoomID), string(forged.ID)), string(forged.JSON()), 403, "M_FORBIDDEN"},
			{"another server's user", sendURI(fed2, "join", string(good.RoomID), string(replayed.ID)), string(replayed.JSON()), 403, "M_FORBIDDEN"},
			{"another content", uri, changed(func(m map[string]json.RawMessage) {
				m["content"] = json.RawMessage(`{"membership":"join","displayname":"Ann"}`)
			}), 400, "M_INVALID_PARAM"},
			{"no event", uri, `{}`, 403, "M_FORBIDDEN"},
			{"half an event", uri, changed(func(m map[string]json.RawMessage) { delete(m, "depth") }), 400, "M_BAD_JSON"},
		} {
			v.told(there, demand{method: "PUT", uri: c.uri, content: c.content}, c.status, c.code, nil)
		}
		// Numbers that events of these room versions may not have, which not even requests can be signed with.
		fraction := strings.Replace(string(good.JSON()), `"membership":"join"`, `"membership":"join","x":1.1`, 1)
		v.told(there, demand{method: "PUT", uri: uri, content: fraction, signed: `{}`}, 400, "M_BAD_JSON", nil)
		unknown := with(func(e *matrix.EventTemplate) {
			e.PrevEvents = []matrix.EventID{"$" + matrix.EventID(strings.Repeat("a", 43))}
		})
		if status, text := v.send(fed2, "join", unknown); status != 400 || !strings.Contains(text, "M_INVALID_PARAM") {
			t.Errorf("after what nobody knows: %d %s", status, text)
		}
		// The template may be older than what has happened since, and the answer may get lost.
		if _, err := bob.SendMessageEvent(ctx, room.RoomID, event.EventMessage, map[string]any{"msgtype": "m.text", "body": "one"}); err != nil {
			t.Fatal(err)
		}
		var first, again entered
		for _, into := range []*entered{&first, &again} {
			v.told(there, demand{method: "PUT", uri: uri, content: string(good.JSON())}, 200, "", into)
		}
		if len(first.State) < 6 || len(again.State) != len(first.State) || len(again.Auth) != len(first.Auth) {
			t.Errorf("first %d, then %d events", len(first.State), len(again.State))
		}
		if _, err := bob.KickUser(ctx, room.RoomID, &mautrix.ReqKickUser{UserID: id.UserID(zoe)}); err != nil {
			t.Fatal(err)
		}
		v.told(there, demand{method: "PUT", uri: uri, content: string(good.JSON())}, 403, "M_FORBIDDEN", nil)

		// What the room does not allow.
		if _, err := bob.BanUser(ctx, room.RoomID, &mautrix.ReqBanUser{UserID: id.UserID(zoe)}); err != nil {
			t.Fatal(err)
		}
		template, version = v.proposal("join", room.RoomID, "@zoe2:"+v.name)
		banned := with(func(e *matrix.EventTemplate) { e.Sender, e.StateKey = matrix.UserID(zoe), text(zoe) })
		for range 2 {
			if status, text := v.send(fed2, "join", banned); status != 403 || !strings.Contains(text, "M_FORBIDDEN") {
				t.Errorf("who is banned comes in: %d %s", status, text)
			}
		}
		v.told(there, demand{uri: makeURI("join", room.RoomID.String(), zoe) + "?ver=10"}, 403, "M_FORBIDDEN", nil)
		members, err := bob.JoinedMembers(ctx, room.RoomID)
		if err != nil || len(members.Joined) != 3 {
			t.Errorf("%v %v", slices.Collect(maps.Keys(members.Joined)), err)
		}
	})
}

// Rooms that strangers may not come into.
func TestStrangersStayOutside(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		create := func(req mautrix.ReqCreateRoom) id.RoomID {
			t.Helper()
			if req.RoomVersion == "" {
				req.RoomVersion = "11"
			}
			room, err := bob.CreateRoom(ctx, &req)
			if err != nil {
				t.Fatal(err)
			}
			return room.RoomID
		}
		public := create(mautrix.ReqCreateRoom{Preset: "public_chat"})
		old := create(mautrix.ReqCreateRoom{Preset: "public_chat", RoomVersion: "2"})
		private := create(mautrix.ReqCreateRoom{Preset: "private_chat"})
		ours := create(mautrix.ReqCreateRoom{Preset: "public_chat", CreationContent: map[string]any{"m.federate": false}})
		blocked, shut, left := create(mautrix.ReqCreateRoom{Preset: "public_chat"}), create(mautrix.ReqCreateRoom{Preset: "public_chat"}), create(mautrix.ReqCreateRoom{Preset: "public_chat"})
		zoe := "@zoe:" + v.name
		late, version := v.proposal("join", left, zoe)
		barred, _ := v.proposal("join", shut, zoe)
		if err := there.server.Rooms().Block(ctx, matrix.RoomID(blocked), "@operator:x", true); err != nil {
			t.Fatal(err)
		}
		acl := map[string]any{"allow": []string{"*"}, "deny": []string{"127.0.0.1"}}
		if _, err := bob.SendStateEvent(ctx, shut, event.StateServerACL, "", acl); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.LeaveRoom(ctx, left); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what, kind string
			room       id.RoomID
			user       string
			query      string
			status     int
			code       string
		}{
			{"a user of this server", "join", public, bob.UserID.String(), "?ver=11", 403, "M_FORBIDDEN"},
			{"to throw out a user of this server", "leave", public, bob.UserID.String(), "", 403, "M_FORBIDDEN"},
			{"a user of yet another server", "join", public, "@a:b", "?ver=11", 403, "M_FORBIDDEN"},
			{"no user", "join", public, "zoe", "?ver=11", 400, "M_INVALID_PARAM"},
			{"an unknown room", "join", "!none:" + id.RoomID(there.name), zoe, "?ver=11", 404, "M_NOT_FOUND"},
			{"another version", "join", public, zoe, "?ver=10&ver=12&ver=abc", 400, "M_INCOMPATIBLE_ROOM_VERSION"},
			{"no version", "join", old, zoe, "", 400, "M_INCOMPATIBLE_ROOM_VERSION"},
			{"one of several versions", "join", old, zoe, "?ver=abc&ver=2&ver=def", 200, ""},
			{"an invite", "join", private, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"this server's users alone", "join", ours, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"a blocked room", "join", blocked, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"a blocked room, at its door", "knock", blocked, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"a room that shuts it out", "join", shut, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"to leave a room that shuts it out", "leave", shut, zoe, "", 403, "M_FORBIDDEN"},
			{"a room that all have left", "join", left, zoe, "?ver=11", 404, "M_NOT_FOUND"},
			{"to knock without versions", "knock", public, zoe, "", 400, "M_MISSING_PARAM"},
			{"to knock where nobody opens", "knock", public, zoe, "?ver=11", 403, "M_FORBIDDEN"},
			{"to leave where it is not", "leave", public, zoe, "", 403, "M_FORBIDDEN"},
		} {
			t.Run(c.what, func(t *testing.T) {
				var p map[string]any
				v.told(there, demand{uri: makeURI(c.kind, c.room.String(), c.user) + c.query}, c.status, c.code, &p)
			})
		}
		status, text, _ := v.call(there, demand{uri: makeURI("join", old.String(), zoe)})
		if status != 400 || !strings.Contains(text, `"room_version":"2"`) {
			t.Errorf("the version is not told: %s", text)
		}
		if status, text := v.send(fed2, "join", v.sign(late, version)); status != 404 {
			t.Errorf("who comes late comes in: %d %s", status, text)
		}
		if status, text := v.send(fed2, "join", v.sign(barred, version)); status != 403 {
			t.Errorf("who is shut out comes in: %d %s", status, text)
		}
	})
}

// Restricted rooms let in who is in another room, and a user of this server vouches for that.
func TestStrangersJoinRestrictedRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		for _, version := range []string{"10", "12"} {
			club, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat", RoomVersion: id.RoomVersion(version)})
			if err != nil {
				t.Fatal(err)
			}
			rules := func(allow ...any) *event.Event {
				return &event.Event{Type: event.StateJoinRules, StateKey: new(string), Content: event.Content{Raw: map[string]any{"join_rule": "restricted", "allow": allow}}}
			}
			member := map[string]any{"type": "m.room_membership", "room_id": club.RoomID}
			hall, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{
				Preset: "private_chat", RoomVersion: id.RoomVersion(version), InitialState: []*event.Event{rules(member)},
			})
			if err != nil {
				t.Fatal(err)
			}
			zoe := "@zoe:" + v.name
			uri := makeURI("join", hall.RoomID.String(), zoe) + "?ver=" + version
			v.told(there, demand{uri: uri}, 403, "M_FORBIDDEN", nil)
			for user := range map[string]bool{zoe: true, "@yan:" + v.name: true} {
				if _, err := v.enter(club.RoomID, user); err != nil {
					t.Fatal(err)
				}
			}
			joined, err := v.enter(hall.RoomID, zoe)
			if err != nil {
				t.Fatalf("version %s: %v", version, err)
			}
			e, err := matrix.ParseEvent(mustVersion(t, version), joined.JoinEvent.JSON())
			if err != nil || len(e.SignatureKeys(matrix.ServerName(there.name))) != 1 || !strings.Contains(string(e.Content), bob.UserID.String()) {
				t.Errorf("version %s: the join is %s, %v", version, joined.JoinEvent.JSON(), err)
			}

			// Nobody vouches for who has left in between, or was never in.
			late, roomVersion := v.proposal("join", hall.RoomID, "@yan:"+v.name)
			never := late
			nobody := "@nobody:" + v.name
			never.Sender, never.StateKey = matrix.UserID(nobody), &nobody
			leave, _ := v.proposal("leave", club.RoomID, "@yan:"+v.name)
			if status, text := v.send(fed2, "leave", v.sign(leave, roomVersion)); status != 200 || text != "{}" {
				t.Fatalf("%d %s", status, text)
			}
			for _, template := range []matrix.EventTemplate{late, never} {
				if status, text := v.send(fed2, "join", v.sign(template, roomVersion)); status != 403 || !strings.Contains(text, "M_FORBIDDEN") {
					t.Errorf("version %s: %s: %d %s", version, template.Sender, status, text)
				}
			}

			// What this server cannot know, or not do.
			yan := makeURI("join", hall.RoomID.String(), "@yan:"+v.name) + "?ver=" + version
			set := func(typ event.Type, content any) {
				t.Helper()
				if _, err := bob.SendStateEvent(ctx, hall.RoomID, typ, "", content); err != nil {
					t.Fatal(err)
				}
			}
			set(event.StateJoinRules, rules(map[string]any{"type": "m.room_membership", "room_id": "!elsewhere:example.org"}).Content.Raw)
			v.told(there, demand{uri: yan}, 400, "M_UNABLE_TO_AUTHORISE_JOIN", nil)
			set(event.StateJoinRules, rules().Content.Raw)
			v.told(there, demand{uri: yan}, 403, "M_FORBIDDEN", nil)
			set(event.StateJoinRules, rules(member).Content.Raw)
			if version == "12" {
				continue // its creator may always invite
			}
			if _, err := v.enter(club.RoomID, "@yan:"+v.name); err != nil {
				t.Fatal(err)
			}
			set(event.StatePowerLevels, map[string]any{"users": map[string]any{zoe: 100, bob.UserID.String(): 100}, "invite": 100})
			set(event.StatePowerLevels, map[string]any{"users": map[string]any{zoe: 100}, "invite": 100})
			v.told(there, demand{uri: yan}, 400, "M_UNABLE_TO_GRANT_JOIN", nil)
		}
	})
}

func mustVersion(t *testing.T, id string) *roomversion.Version {
	t.Helper()
	v, ok := roomversion.Lookup(id)
	if !ok {
		t.Fatal(id)
	}
	return v
}

// Strangers leave and knock.
func TestStrangersLeaveAndKnock(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		for _, version := range []string{"10", "12"} {
			rules := &event.Event{Type: event.StateJoinRules, StateKey: new(string), Content: event.Content{Raw: map[string]any{"join_rule": "knock"}}}
			room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Name: "Den", RoomVersion: id.RoomVersion(version), InitialState: []*event.Event{rules}})
			if err != nil {
				t.Fatal(err)
			}
			zoe := "@zoe:" + v.name
			stands := func(want event.Membership) {
				t.Helper()
				var content event.MemberEventContent
				if err := bob.StateEvent(ctx, room.RoomID, event.StateMember, zoe, &content); err != nil || content.Membership != want {
					t.Errorf("version %s: zoe's membership is %q, want %q: %v", version, content.Membership, want, err)
				}
			}
			for _, base := range []string{fed, fed2} {
				template, roomVersion := v.proposal("knock", room.RoomID, zoe)
				status, text := v.send(fed, "knock", v.sign(template, roomVersion))
				var knocked struct {
					State []json.RawMessage `json:"knock_room_state"`
				}
				if err := json.Unmarshal([]byte(text), &knocked); status != 200 || err != nil {
					t.Fatalf("version %s: %d %s", version, status, text)
				}
				types := map[string]bool{}
				for _, raw := range knocked.State {
					e, err := matrix.ParseEvent(roomVersion, raw)
					if err != nil || !e.CheckHash() || e.RoomID != matrix.RoomID(room.RoomID) {
						t.Fatalf("version %s: %s: %v", version, raw, err)
					}
					types[e.Type] = true
				}
				if !types["m.room.create"] || !types["m.room.name"] || !types["m.room.join_rules"] {
					t.Errorf("version %s: who knocks is told %v", version, types)
				}
				stands(event.MembershipKnock)
				v.told(there, demand{uri: makeURI("join", room.RoomID.String(), zoe) + "?ver=" + version}, 403, "M_FORBIDDEN", nil)
				leave, _ := v.proposal("leave", room.RoomID, zoe)
				status, text = v.send(base, "leave", v.sign(leave, roomVersion))
				if want := map[string]string{fed: "[200,{}]", fed2: "{}"}[base]; status != 200 || text != want {
					t.Errorf("version %s: %d %s, want %s", version, status, text, want)
				}
				stands(event.MembershipLeave)
			}
		}
	})
}
