package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
	"trestle/registration"
)

// A den is a room of a stranger.
type den struct {
	visitor
	version *roomversion.Version
	host    matrix.UserID
	room    matrix.RoomID
	state   []*matrix.Event
	clock   int64
}

func (v visitor) newDen(version string) *den {
	v.t.Helper()
	d := &den{visitor: v, version: mustVersion(v.t, version), host: matrix.UserID("@zoe:" + v.name), clock: time.Now().UnixMilli()}
	create := fmt.Sprintf(`{"creator":%q,"room_version":%q,"org.example.n":%q}`, d.host, version, matrix.RandomString(8)) // one of its own
	if !d.version.RoomIDFromCreate {
		d.room = matrix.RoomID("!" + matrix.RandomString(18) + ":" + v.name)
	}
	d.add("m.room.create", "", create)
	d.room = d.state[0].RoomID
	d.add("m.room.member", string(d.host), `{"membership":"join","displayname":"Zoë"}`)
	d.add("m.room.join_rules", "", `{"join_rule":"invite"}`)
	d.add("m.room.name", "", `{"name":"Den <1>"}`)
	return d
}

func (d *den) add(typ, stateKey, content string) {
	d.t.Helper()
	d.state = append(d.state, d.build(d.host, typ, stateKey, content))
}

func (d *den) build(sender matrix.UserID, typ, stateKey, content string) *matrix.Event {
	d.t.Helper()
	d.clock++
	template := matrix.EventTemplate{
		RoomID: d.room, Sender: sender, Type: typ, StateKey: &stateKey, Content: json.RawMessage(content),
		OriginServerTS: d.clock, Depth: int64(len(d.state) + 1),
	}
	for _, e := range d.state {
		if !d.version.RoomIDFromCreate || e.Type != "m.room.create" {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
		template.PrevEvents = []matrix.EventID{e.ID}
	}
	return d.sign(template, d.version)
}

func (d *den) invite(user id.UserID, more string) *matrix.Event {
	d.t.Helper()
	return d.build(d.host, "m.room.member", user.String(), `{"membership":"invite"`+more+`}`)
}

func (d *den) described() []json.RawMessage {
	var list []json.RawMessage
	for _, e := range d.state {
		list = append(list, e.JSON())
	}
	return list
}

// request is an invite as it is sent.
func (d *den) request(e *matrix.Event, described []json.RawMessage) demand {
	d.t.Helper()
	body, err := json.Marshal(map[string]any{"room_version": d.version.ID, "event": json.RawMessage(e.JSON()), "invite_room_state": described})
	if err != nil {
		d.t.Fatal(err)
	}
	return demand{method: "PUT", uri: fed2 + "/invite/" + url.PathEscape(string(d.room)) + "/" + url.PathEscape(string(e.ID)), content: string(body)}
}

// names is what a stripped state says of members and names, as texts.
func names(stripped []*event.Event) (list []string) {
	for _, e := range stripped {
		_ = e.Content.ParseRaw(e.Type)
		switch e.Type {
		case event.StateRoomName:
			list = append(list, e.Content.AsRoomName().Name)
		case event.StateMember:
			list = append(list, *e.StateKey+" "+string(e.Content.AsMember().Membership))
		}
	}
	slices.Sort(list)
	return list
}

// Users of other servers invite those of this one into rooms of which nothing is known here.
func TestStrangersInvite(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		first, err := bob.SyncRequest(ctx, 0, "", "", true, event.PresenceOnline)
		if err != nil {
			t.Fatal(err)
		}
		since := first.NextBatch
		for _, version := range []string{"1", "6", "11", "12"} {
			d := v.newDen(version)
			room := id.RoomID(d.room)
			invite := d.invite(bob.UserID, "")
			for range 2 { // the answer may get lost
				var signed struct {
					Event json.RawMessage `json:"event"`
				}
				v.told(there, d.request(invite, d.described()), 200, "", &signed)
				e, err := matrix.ParseEvent(d.version, signed.Event)
				if err != nil || e.ID != invite.ID || len(e.SignatureKeys(matrix.ServerName(there.name))) != 1 || len(e.SignatureKeys(matrix.ServerName(v.name))) != 1 {
					t.Fatalf("version %s: what is signed is %s, %v", version, signed.Event, err)
				}
			}
			want := []string{"Den <1>", bob.UserID.String() + " invite", string(d.host) + " join"}
			since = syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
				invited := res.Rooms.Invite[room]
				if invited == nil {
					return false
				}
				slices.Sort(want)
				if got := names(invited.State.Events); !slices.Equal(got, want) {
					t.Errorf("version %s: the invite is to %q, want %q", version, got, want)
				}
				return true
			})
			// Whoever starts anew finds the same.
			whole, err := bob.SyncRequest(ctx, 0, "", "", true, event.PresenceOnline)
			if err != nil || whole.Rooms.Invite[room] == nil || !slices.Equal(names(whole.Rooms.Invite[room].State.Events), want) {
				t.Errorf("version %s: a new client is told %+v, %v", version, whole.Rooms.Invite[room], err)
			}
			// This server does not decide about that room.
			if _, err := bob.JoinRoomByID(ctx, room); err == nil {
				t.Errorf("version %s: the room is joined without its servers", version)
			}
			if _, err := bob.SendMessageEvent(ctx, room, event.EventMessage, map[string]any{"body": "x"}); err == nil {
				t.Errorf("version %s: something is said in it", version)
			}
			v.told(there, demand{uri: makeURI("join", string(d.room), string(d.host)) + "?ver=" + version}, 404, "M_NOT_FOUND", nil)

			// It is refused, and made again.
			leave := d.build(matrix.UserID(bob.UserID), "m.room.member", bob.UserID.String(), `{"membership":"leave"}`)
			if err := there.server.Rooms().Depart(ctx, d.room, leave); err != nil {
				t.Fatal(err)
			}
			since = syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
				left := res.Rooms.Leave[room]
				return left != nil && slices.ContainsFunc(left.Timeline.Events, func(e *event.Event) bool { return e.ID == id.EventID(leave.ID) })
			})
			v.told(there, d.request(d.invite(bob.UserID, `,"reason":"please"`), d.described()), 200, "", &struct{}{})
			since = syncUntil(t, bob, since, func(res *mautrix.RespSync) bool { return res.Rooms.Invite[room] != nil })
		}
	})
}

// What is no invite is not signed, and what nobody wants is not either.
func TestStrangersInviteWrongly(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v, other := visitor{newStranger(t, authority), there}, visitor{newStranger(t, authority), there}
		bob, amy := login(t, there.clients, "bob"), login(t, there.clients, "amy")
		d := v.newDen("12")
		good := d.invite(bob.UserID, "")
		foreign := other.newDen("12").invite(bob.UserID, "")
		request := func(e *matrix.Event) demand { return d.request(e, d.described()) }
		changed := func(from, to string) demand {
			c := request(good)
			c.content = strings.Replace(c.content, from, to, 1)
			return c
		}
		stripped := slices.Clone(d.described())
		stripped[0] = d.state[0].StrippedState()
		blocked := v.newDen("12")
		if err := there.server.Rooms().Block(ctx, blocked.room, "@operator:x", true); err != nil {
			t.Fatal(err)
		}
		if err := amy.SetAccountData(ctx, "m.invite_permission_config", map[string]any{"default_action": "block"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what   string
			demand demand
			status int
			code   string
		}{
			{"a join", request(d.build(d.host, "m.room.member", bob.UserID.String(), `{"membership":"join"}`)), 400, "M_INVALID_PARAM"},
			{"another type", request(d.build(d.host, "m.room.members", bob.UserID.String(), `{"membership":"invite"}`)), 400, "M_INVALID_PARAM"},
			{"of a user of its own", request(d.invite("@yan:"+id.UserID(v.name), "")), 400, "M_INVALID_PARAM"},
			{"of no user", request(d.invite("bob", "")), 400, "M_INVALID_PARAM"},
			{"of nobody", request(d.invite("@nobody:"+id.UserID(there.name), "")), 404, "M_NOT_FOUND"},
			{"another room", demand{method: "PUT", uri: fed2 + "/invite/!other:x/" + url.PathEscape(string(good.ID)), content: request(good).content}, 400, "M_INVALID_PARAM"},
			{"another event", demand{method: "PUT", uri: request(good).uri + "x", content: request(good).content}, 400, "M_INVALID_PARAM"},
			{"by another server's user", request(foreign), 400, "M_INVALID_PARAM"},
			{"a room version of the future", changed(`],"room_version":"12"`, `],"room_version":"99"`), 400, "M_INCOMPATIBLE_ROOM_VERSION"},
			{"no room version", changed(`],"room_version"`, `],"room"`), 400, "M_MISSING_PARAM"},
			{"no signature", changed(`"signatures"`, `"signature"`), 403, "M_FORBIDDEN"},
			{"another content", changed(`{"membership":"invite"}`, `{"membership":"invite","reason":"x"}`), 400, "M_INVALID_PARAM"},
			{"without a creation", d.request(good, d.described()[1:]), 400, "M_INVALID_PARAM"},
			{"with a creation that may be any", d.request(good, stripped), 400, "M_INVALID_PARAM"},
			{"a room that is blocked", blocked.request(blocked.invite(bob.UserID, ""), blocked.described()), 403, "M_FORBIDDEN"},
			{"of who takes none", request(d.invite(amy.UserID, "")), 403, "M_INVITE_BLOCKED"},
		} {
			t.Run(c.what, func(t *testing.T) { v.told(there, c.demand, c.status, c.code, nil) })
		}
		forged := other.sign(matrix.EventTemplate{
			RoomID: d.room, Sender: d.host, Type: "m.room.member", StateKey: good.StateKey, Content: good.Content,
			OriginServerTS: good.OriginServerTS, Depth: good.Depth, PrevEvents: good.PrevEvents, AuthEvents: good.AuthEvents,
		}, d.version)
		v.told(there, request(forged), 403, "M_FORBIDDEN", nil)

		// Who is ignored may invite, and that is not shown.
		if err := bob.SetAccountData(ctx, "m.ignored_user_list", map[string]any{"ignored_users": map[string]any{string(d.host): struct{}{}}}); err != nil {
			t.Fatal(err)
		}
		v.told(there, request(good), 200, "", &struct{}{})
		res, err := bob.SyncRequest(ctx, 0, "", "", true, event.PresenceOnline)
		if err != nil || len(res.Rooms.Invite) != 0 {
			t.Errorf("%+v, %v", res.Rooms.Invite, err)
		}
	})
}

// Servers of former days send invites with what describes the room in them.
func TestStrangersInviteByV1(t *testing.T) {
	authority := testkit.NewAuthority(t)
	there := federate(t, authority, testkit.SQLite(t), nil)
	v := visitor{newStranger(t, authority), there}
	bob := login(t, there.clients, "bob")
	for _, version := range []string{"1", "2"} {
		d := v.newDen(version)
		invite := d.invite(bob.UserID, "")
		var stripped []json.RawMessage
		for _, e := range d.state {
			stripped = append(stripped, e.StrippedState())
		}
		raw, err := json.Marshal(stripped)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.TrimSuffix(string(invite.JSON()), "}") + `,"unsigned":{"invite_room_state":` + string(raw) + `}}`
		var answer []json.RawMessage
		v.told(there, demand{method: "PUT", uri: fed + "/invite/" + url.PathEscape(string(d.room)) + "/" + url.PathEscape(string(invite.ID)), content: body}, 200, "", &answer)
		if len(answer) != 2 || string(answer[0]) != "200" || !strings.Contains(string(answer[1]), there.name+`":{"ed25519:`) {
			t.Errorf("version %s: %s", version, answer)
		}
		res, err := bob.SyncRequest(t.Context(), 0, "", "", true, event.PresenceOnline)
		if err != nil || res.Rooms.Invite[id.RoomID(d.room)] == nil {
			t.Errorf("version %s: %+v %v", version, res.Rooms.Invite, err)
		}
		if got, err := there.server.Rooms().Version(t.Context(), d.room); err != nil || got.ID != version {
			t.Errorf("version %s: it is %v, %v", version, got, err)
		}
	}
}

// Who has knocked elsewhere sees that, and that it was taken back.
func TestKnocksElsewhere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there := federate(t, authority, database, nil)
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		d := v.newDen("11")
		room, user := id.RoomID(d.room), bob.UserID.String()
		knock := d.build(matrix.UserID(user), "m.room.member", user, `{"membership":"knock"}`)
		since := syncUntil(t, bob, "", func(*mautrix.RespSync) bool { return true })
		if err := there.server.Rooms().Knocked(ctx, d.room, knock, []json.RawMessage{d.state[3].StrippedState()}); err != nil {
			t.Fatal(err)
		}
		since = syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
			return res.Rooms.Knock[room] != nil && slices.Equal(names(res.Rooms.Knock[room].State.Events), []string{user + " knock", "Den <1>"})
		})
		leave := d.build(matrix.UserID(user), "m.room.member", user, `{"membership":"leave"}`)
		if err := there.server.Rooms().Depart(ctx, d.room, leave); err != nil {
			t.Fatal(err)
		}
		syncUntil(t, bob, since, func(res *mautrix.RespSync) bool { return res.Rooms.Leave[room] != nil })
		for what, e := range map[string]*matrix.Event{"another user": d.invite(bob.UserID, ""), "another room": v.newDen("11").invite(bob.UserID, "")} {
			if err := there.server.Rooms().Depart(ctx, d.room, e); matrix.Code(err) != "M_INVALID_PARAM" {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// Application services, whose users come to be when they are invited, and people are told of invites from outside as of all others.
func TestWhoIsToldOfStrangersInvites(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		authority := testkit.NewAuthority(t)
		s := newService(t, "irc", func(r *registration.Registration) {
			users, err := registration.NewNamespace(`@irc_.*`, true)
			if err != nil {
				t.Fatal(err)
			}
			r.Namespaces.Users = []registration.Namespace{users}
		})
		there := federate(t, authority, database, func(c *config.Config) {
			c.AppServices = []string{t.TempDir()}
			if err := s.registration.Write(filepath.Join(c.AppServices[0], "irc.yaml")); err != nil {
				t.Fatal(err)
			}
		})
		s.base = there.clients
		s.Query = func(w http.ResponseWriter, r *http.Request) {
			if path, err := url.PathUnescape(r.URL.Path); err != nil || !strings.HasPrefix(path, "/_matrix/app/v1/users/@irc_ann:") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			s.register("irc_ann")
			fmt.Fprint(w, `{}`)
		}
		v := visitor{newStranger(t, authority), there}
		bob := login(t, there.clients, "bob")
		d := v.newDen("12")
		ann := id.UserID("@irc_ann:" + there.name)
		nobody := d.invite(id.UserID("@irc_none:"+there.name), "")
		v.told(there, d.request(nobody, d.described()), 404, "M_NOT_FOUND", nil)
		for _, user := range []id.UserID{ann, bob.UserID} {
			v.told(there, d.request(d.invite(user, ""), d.described()), 200, "", &struct{}{})
		}
		s.Until(t, 1)
		told := string(s.Events()[0])
		if !strings.Contains(told, `"state_key":"`+ann.String()) || !strings.Contains(told, "invite_room_state") || !strings.Contains(told, "Den ") {
			t.Errorf("the service is told %s", told)
		}
		deadline := time.Now().Add(time.Minute)
		for {
			var list struct {
				Notifications []struct {
					Room  id.RoomID   `json:"room_id"`
					Event event.Event `json:"event"`
				} `json:"notifications"`
			}
			there.want(bob, "GET", v3+"/notifications", "", 200, &list)
			if len(list.Notifications) > 0 {
				if n := list.Notifications[0]; len(list.Notifications) != 1 || n.Room != id.RoomID(d.room) || n.Event.Sender != id.UserID(d.host) {
					t.Errorf("bob is notified of %+v", list)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("bob is notified of nothing")
			}
			runtime.Gosched()
		}
	})
}
