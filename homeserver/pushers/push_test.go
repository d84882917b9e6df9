package pushers_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trestle/homeserver/pushers"
	"trestle/homeserver/rooms"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

type object = map[string]any

func TestPush(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w, g := open(t, url, nil), newGateway(t)
		room := w.room(rooms.CreateRequest{Name: "Mission Control", AliasName: "control"})
		w.send(room, "x.unheard", `{}`)
		w.set(pushers.HTTP, "app", "key", g.data(`,"custom":{"a":1}`))
		device := func(tweaks object) []object {
			d := object{"app_id": "app", "pushkey": "key", "data": object{"custom": object{"a": 1}}}
			if tweaks != nil {
				d["tweaks"] = tweaks
			}
			return []object{d}
		}
		first := w.say(room, "one")
		g.expect("a message", object{
			"event_id": first, "room_id": room, "type": "m.room.message", "sender": alice, "sender_display_name": "The alice",
			"room_name": "Mission Control", "room_alias": "#control:hs.example", "prio": "high", "content": object{"msgtype": "m.text", "body": "one"},
			"counts": object{"unread": 1}, "devices": device(object{"sound": "default"}),
		})
		second := w.send(room, "m.room.message", `{"body":"two"}`)
		w.notify(second, time.Now(), `["notify",{"set_tweak":"highlight","value":false},{"set_tweak":"light"},{"what":1}]`)
		g.expect("a message without a sound", object{
			"event_id": second, "room_id": room, "type": "m.room.message", "sender": alice, "sender_display_name": "The alice",
			"room_name": "Mission Control", "room_alias": "#control:hs.example", "prio": "low", "content": object{"body": "two"},
			"counts": object{"unread": 2}, "devices": device(object{"highlight": false, "light": true}),
		})
		w.read(second)
		g.expect("read", object{"prio": "low", "counts": object{"unread": 0}, "devices": device(nil)})

		w.set(pushers.HTTP, "app", "key", g.data(`,"format":"event_id_only","org.matrix.msc4076.disable_badge_count":true`))
		third := w.send(room, "m.room.encrypted", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
		w.notify(third, time.Now(), `["notify"]`)
		g.expect("its ID alone", object{
			"event_id": third, "room_id": room, "prio": "high",
			"devices": []object{{"app_id": "app", "pushkey": "key", "data": object{"format": "event_id_only", "org.matrix.msc4076.disable_badge_count": true}}},
		})
		w.read(third) // and nobody is told
		fourth := w.say(room, "four")
		if p := g.next(); p["event_id"] != string(fourth) {
			t.Errorf("then: %v", p)
		}
	})
}

func TestInvite(t *testing.T) {
	w, g := open(t, testkit.SQLite(t), nil), newGateway(t)
	w.room(rooms.CreateRequest{}) // where bob becomes known
	w.set(pushers.HTTP, "app", "key", g.data(""))
	room, err := w.rooms.Create(t.Context(), rooms.CreateRequest{Creator: alice, Preset: "private_chat", Invite: []matrix.UserID{bob}})
	w.must(err)
	info, err := w.rooms.Info(t.Context(), room)
	w.must(err)
	now, err := w.rooms.Head(t.Context(), info.NID)
	w.must(err)
	invite, err := now.Event(t.Context(), "m.room.member", string(bob))
	w.must(err)
	w.notify(invite.ID, time.Now(), `["notify"]`)
	if p := g.next(); p["user_is_target"] != true || p["membership"] != "invite" || p["type"] != "m.room.member" {
		t.Errorf("an invite: %v", p)
	}
}

// What could not be sent is sent later, in order and once, though the server
// was stopped in between.
func TestRetryAndRestart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w, g := open(t, url, nil), newGateway(t)
		room := w.room(rooms.CreateRequest{})
		w.set(pushers.HTTP, "app", "key", g.data(""))
		g.say(http.StatusServiceUnavailable, "")
		want := []matrix.EventID{w.say(room, "one"), w.say(room, "two"), w.say(room, "three")}
		until(t, "some attempts", func() bool { return g.times() >= 3 })
		w.stop()
		asked := g.times()
		w.start()
		until(t, "attempts after the restart", func() bool { return g.times() > asked })
		g.say(0, `{"rejected":["another"]}`)
		for i, id := range want {
			p := g.next()
			if p["event_id"] != string(id) {
				t.Errorf("push %d: %v, want %s", i, p, id)
			}
		}
		w.stop()
		w.start()
		fourth := w.say(room, "four")
		if p := g.next(); p["event_id"] != string(fourth) {
			t.Errorf("after a second restart: %v", p)
		}
	})
}

// A gateway whose answer is lost is told again, of the same event.
func TestLostAnswers(t *testing.T) {
	w := open(t, testkit.SQLite(t), nil)
	told := make(chan string, 100)
	var lost atomic.Bool
	lost.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var p struct {
			Notification struct {
				ID string `json:"event_id"`
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&p)
		told <- p.Notification.ID
		if lost.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(rw, "fine") // what is no answer rejects nobody
	}))
	defer server.Close()
	room := w.room(rooms.CreateRequest{})
	w.set(pushers.HTTP, "app", "key", `{"url":"`+server.URL+`/_matrix/push/v1/notify"}`)
	first, second := w.say(room, "one"), w.say(room, "two")
	for range 3 {
		if id := <-told; id != string(first) {
			t.Errorf("told of %s", id)
		}
	}
	lost.Store(false)
	until(t, "the second event", func() bool { return <-told == string(second) })
}

// Nobody is told of what is read, redacted, too old or from a room that was left.
func TestNothingToTell(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w, g := open(t, url, nil), newGateway(t)
		room, other := w.room(rooms.CreateRequest{}), w.room(rooms.CreateRequest{})
		w.set(pushers.HTTP, "app", "key", g.data(`,"disable_badge_count":true`))
		g.say(http.StatusBadGateway, "")
		w.read(w.say(room, "read"))
		w.say(other, "left behind")
		w.must(w.rooms.Leave(t.Context(), rooms.MemberRequest{Room: other, Sender: bob}))
		gone := w.say(room, "redacted")
		_, err := w.rooms.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.redaction", Redacts: gone, Content: json.RawMessage(`{"redacts":"` + gone + `"}`)})
		w.must(err)
		old := w.send(room, "m.room.message", `{"body":"old"}`)
		w.notify(old, time.Now().Add(-25*time.Hour), `["notify"]`)
		g.say(0, `{"rejected":[]}`)
		last := w.say(room, "last")
		until(t, "the last one", func() bool { return g.next()["event_id"] == string(last) })
	})
}

func TestRejectedPushersGo(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w, g := open(t, url, nil), newGateway(t)
		room := w.room(rooms.CreateRequest{})
		g.say(0, `{"rejected":["bad","unknown"]}`)
		w.set(pushers.HTTP, "app", "bad", g.data(""))
		w.set(pushers.HTTP, "app", "good", g.data(""))
		w.say(room, "hello")
		g.next()
		g.next()
		w.count(1)
	})
}

// A gateway that does not answer costs the others nothing.
func TestDeadGateways(t *testing.T) {
	w, g := open(t, testkit.SQLite(t), func(o *pushers.Options) { o.AtOnce, o.Timeout = 2, time.Minute }), newGateway(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	w.must(err)
	defer silent.Close()
	room := w.room(rooms.CreateRequest{})
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "localhost"} {
		_, port, _ := net.SplitHostPort(silent.Addr().String())
		for _, key := range []string{"a", "b", "c", "d"} {
			w.set(pushers.HTTP, "app", host+key, `{"url":"http://`+host+`:`+port+`/_matrix/push/v1/notify"}`)
		}
	}
	w.set(pushers.HTTP, "app", "live", g.data(""))
	for _, word := range []string{"one", "two", "three"} {
		id := w.say(room, word)
		if p := g.next(); p["event_id"] != string(id) {
			t.Errorf("%s: %v", word, p)
		}
	}
	w.pushers.Close(canceled(t)) // breaks off what hangs
}

func TestSwitchedOff(t *testing.T) {
	w, g := open(t, testkit.SQLite(t), nil), newGateway(t)
	room := w.room(rooms.CreateRequest{})
	spec := pushers.Spec{Kind: pushers.HTTP, AppID: "app", Key: "key", AppName: text(""), DeviceName: text(""), Lang: text(""), Data: json.RawMessage(g.data(""))}
	w.must(w.pushers.Set(t.Context(), bob, "PHONE", spec))
	w.read(w.say(room, "while it is off"))
	w.say(room, "still off")
	spec.Enabled = true
	w.must(w.pushers.Set(t.Context(), bob, "PHONE", spec))
	if p := g.next(); p["event_id"] != nil || canonical(t, p["counts"]) != `{"unread":1}` {
		t.Errorf("switched on: %v", p)
	}
	on := w.say(room, "on")
	if p := g.next(); p["event_id"] != string(on) {
		t.Errorf("on: %v", p)
	}
	w.must(w.pushers.Remove(t.Context(), bob, "app", "key"))
	w.say(room, "removed")
	w.count(0)
	w.stop()
	select {
	case p := <-g.pushes:
		t.Errorf("a pusher that was removed told %v", p)
	default:
	}
}

func TestAddressRemovedAndDeactivated(t *testing.T) {
	w := open(t, testkit.SQLite(t), nil)
	w.set(pushers.Email, pushers.EmailApp, "Bob@example.org", `{}`)
	remove := func(medium, address string) {
		w.must(w.db.Update(t.Context(), func(tx *database.Tx) error { return w.pushers.AddressRemoved(t.Context(), tx, bob, medium, address) }))
	}
	remove("msisdn", "bob@example.org")
	remove("email", "other@example.org")
	w.count(1)
	remove("email", "bob@example.org")
	w.count(0)
	w.set(pushers.HTTP, "app", "key", `{"url":"https://push.example/_matrix/push/v1/notify"}`)
	w.must(w.pushers.Deactivated(t.Context(), alice, false))
	w.count(1)
	w.must(w.pushers.Deactivated(t.Context(), bob, false))
	w.count(0)
	spec := pushers.Spec{Kind: pushers.Email, AppID: pushers.EmailApp, Key: "alice@example.org", AppName: text(""), DeviceName: text(""), Lang: text(""), Data: json.RawMessage(`{}`)}
	if err := w.pushers.Set(t.Context(), bob, "PHONE", spec); matrix.Code(err) != "M_THREEPID_NOT_FOUND" {
		t.Errorf("somebody else's address: %v", err)
	}
	spec.AppID, spec.Key = "app", "bob@example.org"
	if err := w.pushers.Set(t.Context(), bob, "PHONE", spec); matrix.Code(err) != "M_INVALID_PARAM" || !strings.Contains(err.Error(), "m.email") {
		t.Errorf("another app ID: %v", err)
	}
}
