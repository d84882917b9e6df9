package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func types(events []event) string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = strings.TrimPrefix(e.Type, "m.room.")
	}
	return strings.Join(list, " ")
}

func TestInitialSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat", Name: "Hall"})
		f.join(room, bob)
		for i := range 12 {
			f.say(room, alice, fmt.Sprint(i))
		}
		res := f.syncNow(syncer.Request{User: bob, Device: "B"})
		joined := res.Rooms.Join[room]
		if got := types(f.read(joined.Timeline.Events)); got != strings.TrimSpace(strings.Repeat("message ", 10)) || !joined.Timeline.Limited {
			t.Errorf("timeline %s, limited %t", got, joined.Timeline.Limited)
		}
		if got := types(f.list(joined.State)); got != "create member power_levels join_rules history_visibility guest_access name member" {
			t.Errorf("state %s", got)
		}
		if s := joined.Summary; *s.Joined != 2 || *s.Invited != 0 || s.Heroes != nil {
			t.Errorf("summary of a room with a name: %+v", s)
		}
		whole := f.syncNow(syncer.Request{User: bob, Device: "B", Filter: f.filter(`{"room":{"timeline":{"limit":100}}}`)}).Rooms.Join[room]
		if whole.Timeline.Limited || len(whole.State.Events) > 0 || len(whole.Timeline.Events) != 20 {
			t.Errorf("%d events, limited %t, state %v", len(whole.Timeline.Events), whole.Timeline.Limited, whole.State)
		}
		if again := f.syncNow(syncer.Request{User: bob, Device: "B", Since: res.NextBatch}); again.Rooms != nil || again.NextBatch != res.NextBatch {
			t.Errorf("nothing happened, but %+v", again)
		}
		full := f.syncNow(syncer.Request{User: bob, Device: "B", Since: res.NextBatch, FullState: true}).Rooms.Join[room]
		if got := len(f.list(full.State)); got != 8 || len(full.Timeline.Events) > 0 || full.Timeline.Limited {
			t.Errorf("full state: %d events, timeline %+v", got, full.Timeline)
		}
	})
}

func TestInvitesKnocksAndLeaves(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		private := f.create(rooms.CreateRequest{Preset: "private_chat", Name: "Private"})
		knocking := f.create(rooms.CreateRequest{InitialState: []rooms.InitialState{{Type: "m.room.join_rules", Content: json.RawMessage(`{"join_rule":"knock"}`)}}})
		first := f.syncNow(syncer.Request{User: bob, Device: "B"})
		f.invite(private, alice, bob)
		_, err := f.rooms.KnockAt(t.Context(), string(knocking), rooms.MemberRequest{Sender: bob})
		f.must(err)
		second := f.syncNow(syncer.Request{User: bob, Device: "B", Since: first.NextBatch})
		invite, knock := second.Rooms.Invite[private], second.Rooms.Knock[knocking]
		if invite == nil || knock == nil || len(second.Rooms.Join)+len(second.Rooms.Leave) != 0 {
			t.Fatalf("%+v", second.Rooms)
		}
		if got := types(f.read(invite.State.Events)); got != "create name join_rules member member" {
			t.Errorf("invite state %s", got)
		}
		if got := f.read(knock.State.Events); types(got) != "create join_rules member" || got[2].Sender != bob {
			t.Errorf("knock state %v", describe(got))
		}
		// Until something changes, invites are not repeated, but for those who come new.
		if third := f.syncNow(syncer.Request{User: bob, Device: "B", Since: second.NextBatch}); third.Rooms != nil {
			t.Errorf("repeated: %+v", third.Rooms)
		}
		if initial := f.syncNow(syncer.Request{User: bob, Device: "B"}); initial.Rooms.Invite[private] == nil || initial.Rooms.Knock[knocking] == nil {
			t.Errorf("not in an initial answer: %+v", initial.Rooms)
		}
		f.set(private, alice, "m.room.topic", "", `{"topic":"secret"}`)
		f.leave(private, bob)
		f.leave(knocking, bob)
		fourth := f.syncNow(syncer.Request{User: bob, Device: "B", Since: second.NextBatch})
		left := fourth.Rooms.Leave[private]
		if left == nil || fourth.Rooms.Leave[knocking] == nil {
			t.Fatalf("%+v", fourth.Rooms)
		}
		raw, err := json.Marshal(left)
		if f.must(err); strings.Contains(string(raw), "secret") {
			t.Errorf("who refused an invite sees %s", raw)
		}
		if archive := f.syncNow(syncer.Request{User: bob, Device: "B"}); archive.Rooms != nil {
			t.Errorf("left rooms come unasked: %+v", archive.Rooms)
		}
	})
}

// What happens in a room after somebody has left is not for them, also if they
// are banned later.
func TestTheDepartedSeeNothingOfLater(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		before := f.syncNow(syncer.Request{User: bob, Device: "B"})
		f.set(room, alice, "m.room.topic", "", `{"topic":"seen"}`)
		f.leave(room, bob)
		between := f.syncNow(syncer.Request{User: bob, Device: "B", Since: before.NextBatch})
		f.set(room, alice, "m.room.topic", "", `{"topic":"secret"}`)
		f.say(room, alice, "secret")
		f.ban(room, alice, bob)
		f.say(room, alice, "secret too")
		for name, req := range map[string]syncer.Request{
			"incremental":          {Since: before.NextBatch},
			"after the leave":      {Since: between.NextBatch},
			"limited":              {Since: between.NextBatch, Filter: f.filter(`{"room":{"timeline":{"limit":0}}}`)},
			"limited before":       {Since: before.NextBatch, Filter: f.filter(`{"room":{"timeline":{"limit":0}}}`)},
			"state_after":          {Since: before.NextBatch, UseStateAfter: true},
			"state_after the left": {Since: between.NextBatch, UseStateAfter: true},
			"archive":              {Filter: f.filter(`{"room":{"include_leave":true}}`)},
			"archive, short":       {Filter: f.filter(`{"room":{"include_leave":true,"timeline":{"limit":1}}}`)},
			"archive, state_after": {Filter: f.filter(`{"room":{"include_leave":true}}`), UseStateAfter: true},
			"full state":           {Since: between.NextBatch, FullState: true, Filter: f.filter(`{"room":{"include_leave":true}}`)},
		} {
			req.User, req.Device = bob, "B"
			res := f.syncNow(req)
			raw, err := json.Marshal(res)
			f.must(err)
			if res.Rooms == nil || res.Rooms.Leave[room] == nil || strings.Contains(string(raw), "secret") {
				t.Errorf("%s: %s", name, raw)
			}
			if seen := strings.Contains(string(raw), "seen"); seen == (req.Since == between.NextBatch && !req.FullState) {
				t.Errorf("%s: the topic that was seen is in the answer: %t", name, seen)
			}
		}
		page, err := f.sync.Messages(t.Context(), syncer.PageRequest{User: bob, Room: room, Limit: 100, Backward: true, Filter: new(accounts.RoomEventFilter)})
		f.must(err)
		if raw := fmt.Sprintf("%s", page.Chunk); strings.Contains(raw, "secret") || !strings.Contains(raw, "seen") {
			t.Errorf("history: %s", raw)
		}
	})
}

// A device that shows an old token again did not get the answer to it.
func TestLazyMembersAfterALostAnswer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat", Name: "Hall"})
		for _, user := range []matrix.UserID{bob, carol} {
			f.join(room, user)
		}
		for i := range 12 {
			f.say(room, alice, fmt.Sprint(i))
		}
		lazy := f.filter(`{"room":{"state":{"lazy_load_members":true}}}`)
		members := func(since string) (list []string, next string) {
			res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, Filter: lazy})
			for _, e := range f.list(res.Rooms.Join[room].State) {
				if e.Type == "m.room.member" {
					list = append(list, *e.StateKey)
				}
			}
			slices.Sort(list)
			return list, res.NextBatch
		}
		first, since := members("")
		if fmt.Sprint(first) != "[@alice:test @bob:test]" {
			t.Errorf("at first %v", first)
		}
		f.say(room, carol, "hello")
		f.say(room, alice, "hello")
		for range 2 {
			if again, _ := members(since); fmt.Sprint(again) != "[@carol:test]" {
				t.Errorf("carol, who speaks, but: %v", again)
			}
		}
		_, since = members(since)
		f.say(room, carol, "again")
		if later, _ := members(since); later != nil {
			t.Errorf("members that the device has: %v", later)
		}
		redundant := f.filter(`{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true}}}`)
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, Filter: redundant})
		if got := types(f.list(res.Rooms.Join[room].State)); got != "member" {
			t.Errorf("redundant members: %s", got)
		}
	})
}

func TestFilters(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room, other := f.create(rooms.CreateRequest{Preset: "public_chat"}), f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		f.join(other, bob)
		since := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		f.say(room, alice, "one")
		f.set(room, alice, "m.room.topic", "", `{"topic":"t"}`)
		f.say(room, alice, "two")
		f.join(room, carol)
		f.say(room, carol, "three")
		f.set(room, alice, "x.url", "", `{"url":"mxc://a/b"}`)
		f.say(other, alice, "elsewhere")
		for filter, want := range map[string]string{
			`{}`: "message topic message member message x.url",
			`{"room":{"timeline":{"types":["m.room.message"]}}}`:                                          "message message message / topic member x.url",
			`{"room":{"timeline":{"not_types":["m.room.m*"]}}}`:                                           "topic x.url / member",
			`{"room":{"timeline":{"types":["m.room.message"],"limit":1}}}`:                                "message / topic member x.url",
			`{"room":{"timeline":{"senders":["@carol:test"]}}}`:                                           "member message / topic x.url",
			`{"room":{"timeline":{"contains_url":true}}}`:                                                 "x.url / topic member",
			`{"room":{"timeline":{"contains_url":false},"state":{"types":[]}}}`:                           "message topic message member message",
			`{"room":{"timeline":{"limit":2},"state":{"types":["m.room.topic"]}}}`:                        "message x.url / topic",
			`{"room":{"timeline":{"not_rooms":["` + string(room) + `"]},"state":{"types":[]}}}`:           "",
			`{"room":{"timeline":{"types":["none"]},"state":{"not_types":["*"]}}}`:                        "",
			`{"room":{"not_rooms":["` + string(other) + `"],"timeline":{"not_senders":["@alice:test"]}}}`: "member message / topic x.url",
		} {
			res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, Filter: f.filter(filter)})
			got := ""
			if res.Rooms != nil && res.Rooms.Join[room] != nil {
				joined := res.Rooms.Join[room]
				got = types(f.read(joined.Timeline.Events))
				if len(joined.State.Events) > 0 {
					got += " / " + types(f.list(joined.State))
				}
				if joined.Summary == nil {
					t.Errorf("%s: carol has come, but there is no summary", filter)
				}
			}
			if got != want {
				t.Errorf("%s: %s, want %s", filter, got, want)
			}
			if strings.Contains(filter, "not_rooms\":[\""+string(other)) && res.Rooms.Join[other] != nil {
				t.Errorf("%s: the other room is there", filter)
			}
		}
	})
}

func TestIgnoredUsers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		f.say(room, carol, "rude")
		f.set(room, carol, "m.room.member", string(carol), `{"membership":"join","displayname":"C"}`)
		f.say(room, alice, "polite")
		f.data.global = []json.RawMessage{json.RawMessage(`{"type":"m.ignored_user_list","content":{"ignored_users":{"@carol:test":{}}}}`)}
		f.invite(f.create(rooms.CreateRequest{Creator: carol}), carol, bob)
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Filter: f.filter(`{"room":{"timeline":{"limit":3}}}`)})
		if got := types(f.read(res.Rooms.Join[room].Timeline.Events)); got != "member message" || len(res.Rooms.Invite) != 0 {
			t.Errorf("timeline %s, invites %v", got, res.Rooms.Invite)
		}
		// Where nothing else happens, there is nothing to tell, and nobody is woken.
		f.say(room, carol, "ruder")
		lazy := f.filter(`{"room":{"state":{"lazy_load_members":true}}}`)
		if res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: res.NextBatch, Filter: lazy}); res.Rooms != nil {
			t.Errorf("a message of somebody ignored: bob is told of room %+v", res.Rooms.Join[room])
		}
		f.say(room, alice, "kind")
		res = f.syncNow(syncer.Request{User: bob, Device: "B", Since: res.NextBatch, Filter: lazy})
		if got := res.Rooms.Join[room]; types(f.read(got.Timeline.Events)) != "message" || len(f.list(got.State)) != 1 {
			t.Errorf("after it: timeline %s, state %s", got.Timeline.Events, got.State.Events)
		}
	})
}

// Who changes their name is in the room as before: that is nothing for a client
// that wants no members.
func TestSummariesAreOfMemberships(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		for _, c := range []struct {
			filter               string
			afterName, afterJoin bool
		}{{`{}`, true, true}, {`{"room":{"timeline":{"types":["m.room.message"]},"state":{"types":["m.room.name"]}}}`, false, true}} {
			filter := f.filter(c.filter)
			since := f.syncNow(syncer.Request{User: bob, Device: "B", Filter: filter}).NextBatch
			news := func() *syncer.JoinedRoom {
				res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, Filter: filter})
				since = res.NextBatch
				if res.Rooms == nil {
					return nil
				}
				return res.Rooms.Join[room]
			}
			f.set(room, alice, "m.room.member", string(alice), `{"membership":"join","displayname":"A of `+strconv.Itoa(len(c.filter))+`"}`)
			if got := news(); (got != nil) != c.afterName || got != nil && got.Summary != nil {
				t.Errorf("%s: after a new name %+v", c.filter, got)
			}
			f.join(room, carol)
			if got := news(); (got != nil) != c.afterJoin || got != nil && (got.Summary == nil || *got.Summary.Joined != 3) {
				t.Errorf("%s: after a join %+v", c.filter, got)
			}
			f.leave(room, carol)
		}
	})
}

// A filter can ask for events as servers exchange them.
func TestEventsInTheFormatOfServers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		said := f.say(room, alice, "raw")
		for format, raw := range map[string]bool{"client": false, "federation": true} {
			filter := f.filter(`{"event_format":"` + format + `","room":{"timeline":{"limit":1}}}`)
			joined := f.syncNow(syncer.Request{User: bob, Device: "B", Filter: filter}).Rooms.Join[room]
			for _, event := range append(joined.Timeline.Events, joined.State.Events...) {
				for _, member := range []string{"auth_events", "prev_events", "depth", "hashes", "signatures", "room_id"} {
					if strings.Contains(string(event), `"`+member+`":`) != raw {
						t.Errorf("%s: %s", format, event)
					}
				}
				if !strings.Contains(string(event), `"unsigned":{"age":`) || !strings.Contains(string(event), `"event_id":"$`) {
					t.Errorf("%s: %s", format, event)
				}
			}
			if got := f.read(joined.Timeline.Events); len(got) != 1 || got[0].ID != said {
				t.Errorf("%s: timeline %s", format, joined.Timeline.Events)
			}
		}
	})
}

func TestStateAfterIsThereThoughEmpty(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		since := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		f.say(room, alice, "no state")
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, UseStateAfter: true})
		raw, err := json.Marshal(res.Rooms.Join[room])
		f.must(err)
		if !strings.Contains(string(raw), `"state_after":{"events":[]}`) || strings.Contains(string(raw), `"state":`) {
			t.Errorf("%s", raw)
		}
	})
}

func TestRoomAccountDataOfANewcomer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		since := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		f.data.rooms = map[matrix.RoomID][]json.RawMessage{room: {json.RawMessage(`{"type":"m.tag","content":{"tags":{}}}`)}}
		f.join(room, bob)
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since})
		if got := res.Rooms.Join[room].AccountData; got == nil || len(got.Events) != 1 {
			t.Errorf("account data %v", got)
		}
		f.data.rooms = nil
		raw, err := json.Marshal(f.syncNow(syncer.Request{User: bob, Device: "B"}).Rooms.Join[room])
		f.must(err)
		if !strings.Contains(string(raw), `"account_data":{"events":[]}`) {
			t.Errorf("a room without account data: %s", raw)
		}
	})
}

// A client with a token of a time that this server does not know waits for
// what comes, and not for ever.
func TestATokenFromTheFuture(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		now := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: "s999999999_1"})
		if res.NextBatch != now {
			t.Errorf("now it is %s, not %s", res.NextBatch, now)
		}
		_, err := f.sync.Sync(t.Context(), syncer.Request{User: bob, Device: "B", Since: "t1"})
		if matrix.Code(err) != "M_INVALID_PARAM" {
			t.Error(err)
		}
	})
}

// Clients that wait hear everything, once and in order, while many talk.
func TestClientsThatWaitHearEverything(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		listeners := []matrix.UserID{bob, carol, dave}
		for _, user := range listeners {
			f.join(room, user)
		}
		const talkers, each = 4, 40
		since := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		heard := make([][]matrix.EventID, len(listeners))
		for i, user := range listeners {
			all.Go(func() {
				at := since
				for len(heard[i]) < talkers*each {
					res, err := f.sync.Sync(ctx, syncer.Request{User: user, Device: "B", Since: at, Timeout: time.Minute, Filter: new(accounts.Filter)})
					if err != nil {
						t.Error(err)
						return
					}
					at = res.NextBatch
					if res.Rooms == nil {
						t.Errorf("woken by nothing: %+v", res)
						continue
					}
					timeline := res.Rooms.Join[room].Timeline
					events := ids(f.read(timeline.Events))
					if timeline.Limited {
						events = slices.Concat(gap(f, room, timeline.PrevBatch, since), events)
						heard[i] = nil
					}
					heard[i] = append(heard[i], events...)
				}
			})
		}
		for range talkers {
			all.Go(func() {
				for n := range each {
					f.say(room, alice, fmt.Sprint(n))
				}
			})
		}
		all.Wait()
		for i := range listeners {
			if !slices.Equal(heard[i], heard[0]) || len(slices.Compact(slices.Sorted(slices.Values(heard[i])))) != talkers*each {
				t.Errorf("%s heard %d events, not what bob did", listeners[i], len(heard[i]))
			}
		}
	})
}

// gap is every event between since and where a limited timeline begins.
func gap(f *fixture, room matrix.RoomID, prevBatch, since string) []matrix.EventID {
	missed := f.pages(room, prevBatch, since, 50, true)
	slices.Reverse(missed)
	return missed
}

func TestStop(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		since := f.syncNow(syncer.Request{User: bob, Device: "B"}).NextBatch
		stop := make(chan struct{})
		close(stop)
		res := f.syncNow(syncer.Request{User: bob, Device: "B", Since: since, Timeout: time.Hour, Stop: stop})
		if res.NextBatch != since || res.OneTimeKeys == nil || res.FallbackKeys == nil {
			t.Errorf("%+v", res)
		}
	})
}

func TestWhoeverHasANameIsNotCalledByItsMembers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat", Name: "Hall"})
		f.join(room, bob)
		first := f.syncNow(syncer.Request{User: bob, Device: "B"})
		if s := first.Rooms.Join[room].Summary; s == nil || s.Heroes != nil {
			t.Errorf("with a name: %+v", s)
		}
		f.set(room, alice, "m.room.name", "", `{}`)
		second := f.syncNow(syncer.Request{User: bob, Device: "B", Since: first.NextBatch})
		if s := second.Rooms.Join[room].Summary; s == nil || !slices.Equal(s.Heroes, []matrix.UserID{alice}) {
			t.Errorf("without one: %+v", s)
		}
	})
}

// Clients that load members lazily are sent the heroes (Client-Server API §
// Lazy-loading room members).
func TestHeroesComeWithTheirMemberEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		f.say(room, bob, "hello")
		filter := f.filter(`{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1},"account_data":{"not_rooms":["` + string(room) + `"]}}}`)
		f.data.rooms = map[matrix.RoomID][]json.RawMessage{room: {json.RawMessage(`{"type":"x","content":{}}`)}}
		joined := f.syncNow(syncer.Request{User: bob, Device: "B", Filter: filter}).Rooms.Join[room]
		var members []string
		for _, e := range f.list(joined.State) {
			if e.Type == "m.room.member" {
				members = append(members, *e.StateKey)
			}
		}
		slices.Sort(members)
		if !slices.Equal(members, []string{string(alice), string(bob), string(carol)}) || len(joined.Summary.Heroes) != 2 {
			t.Errorf("members %v, heroes %v", members, joined.Summary.Heroes)
		}
		if data := f.list(joined.AccountData); len(data) > 0 {
			t.Errorf("the filter leaves the room's account data out: %v", joined.AccountData)
		}
	})
}
