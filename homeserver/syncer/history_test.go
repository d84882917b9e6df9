package syncer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// visible asks for every event of a room on its own.
func (f *fixture) visible(room matrix.RoomID, user matrix.UserID) []matrix.EventID {
	f.t.Helper()
	info, err := f.rooms.Info(f.t.Context(), room)
	f.must(err)
	events, err := f.store.Events.Forward(f.t.Context(), info.NID, math.MinInt64, math.MaxInt64, 10_000)
	f.must(err)
	var list []matrix.EventID
	for _, e := range events {
		if _, _, err := f.rooms.Event(f.t.Context(), room, e.ID, user); err == nil {
			list = append(list, e.ID)
		} else if matrix.Code(err) != "M_NOT_FOUND" {
			f.t.Fatal(err)
		}
	}
	return list
}

// Pages of any size, in both directions, hold every event that can be seen, once.
func TestPagesHaveEveryVisibleEventOnce(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := open(t, testkit.EitherDatabase(t, seed))
			h := &history{fixture: f, random: rand.New(rand.NewPCG(seed, 11)), rooms: []matrix.RoomID{f.create(rooms.CreateRequest{Preset: "public_chat"})}}
			room := h.rooms[0]
			for range 250 {
				h.step()
			}
			if joined, err := f.rooms.Joined(t.Context(), room, bob); err != nil || !joined {
				_ = f.rooms.Unban(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: bob})
				f.join(room, bob)
			}
			want := f.visible(room, bob)
			for _, limit := range []int{1, 3, 19, 20, 21, len(want) - 1, len(want), 1000} {
				if forward := f.pages(room, "", "", limit, false); !slices.Equal(forward, want) {
					t.Errorf("forwards by %d: %d events, want %d", limit, len(forward), len(want))
				}
				backward := f.pages(room, "", "", limit, true)
				slices.Reverse(backward)
				if !slices.Equal(backward, want) {
					t.Errorf("backwards by %d: %d events, want %d", limit, len(backward), len(want))
				}
			}
			f.checkContexts(room, want, h.random)
		})
	}
}

// checkContexts asks for the surroundings of events, and pages on from there.
func (f *fixture) checkContexts(room matrix.RoomID, want []matrix.EventID, random *rand.Rand) {
	f.t.Helper()
	reader := rooms.Reader{User: bob, Device: "D"}
	for range 20 {
		at, limit := random.IntN(len(want)), random.IntN(12)
		c, err := f.sync.Context(f.t.Context(), reader, room, want[at], limit, new(accounts.RoomEventFilter))
		f.must(err)
		before, after := ids(f.read(c.Before)), ids(f.read(c.After))
		slices.Reverse(before)
		if len(before) != min(limit/2, at) || len(after) != min(limit-limit/2, len(want)-at-1) {
			f.t.Fatalf("limit %d at %d of %d: %d before, %d after", limit, at, len(want), len(before), len(after))
		}
		earlier := f.pages(room, c.Start, "", 50, true)
		slices.Reverse(earlier)
		all := slices.Concat(earlier, before, want[at:at+1], after, f.pages(room, c.End, "", 50, false))
		if !slices.Equal(all, want) {
			f.t.Fatalf("limit %d at %d: around the event are %d events, want %d", limit, at, len(all), len(want))
		}
	}
}

func TestPagesBetweenTokens(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		since := f.syncNow(syncer.Request{User: bob}).NextBatch
		var said []matrix.EventID
		for i := range 30 {
			said = append(said, f.say(room, alice, fmt.Sprint(i)))
		}
		until := f.syncNow(syncer.Request{User: bob}).NextBatch
		f.say(room, alice, "later")
		if got := f.pages(room, since, until, 7, false); !slices.Equal(got, said) {
			t.Errorf("forwards: %d events", len(got))
		}
		got := f.pages(room, until, since, 7, true)
		slices.Reverse(got)
		if !slices.Equal(got, said) {
			t.Errorf("backwards: %d events", len(got))
		}
		for _, token := range []string{"x", "s", "s1_", "t12", "s1_2_3_4", strings.Repeat("9", 500)} {
			_, err := f.sync.Messages(t.Context(), syncer.PageRequest{User: bob, Room: room, From: token, Limit: 1, Filter: new(accounts.RoomEventFilter)})
			if matrix.Code(err) != "M_INVALID_PARAM" {
				t.Errorf("%s: %v", token, err)
			}
		}
	})
}

// A filter that lets hardly anything through neither hides what is far away
// nor ends the pages early.
func TestPagesThroughAFilter(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		var want []matrix.EventID
		for i := range 130 {
			if id := f.say(room, alice, fmt.Sprint(i)); i%40 == 0 {
				want = append(want, id, f.say(room, carol, "rare"))
			}
		}
		filter := &accounts.RoomEventFilter{EventFilter: accounts.EventFilter{Senders: []matrix.UserID{carol}, Types: []string{"m.room.message"}}, LazyLoadMembers: true}
		var got []matrix.EventID
		for from := ""; ; {
			page, err := f.sync.Messages(t.Context(), syncer.PageRequest{User: bob, Room: room, From: from, Limit: 1, Backward: true, Filter: filter})
			f.must(err)
			events := f.read(page.Chunk)
			got = append(got, ids(events)...)
			if members := f.read(page.State); len(members) != len(events) || len(members) == 1 && *members[0].StateKey != string(carol) {
				t.Errorf("members %v", describe(members))
			}
			if from = page.End; from == "" {
				break
			}
		}
		if len(got) != 4 || got[0] != want[7] || got[3] != want[1] {
			t.Errorf("got %v of %v", got, want)
		}
	})
}

func TestContext(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "private_chat"})
		secret := f.say(room, alice, "secret")
		f.invite(room, alice, bob)
		f.set(room, alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		hidden := f.say(room, alice, "hidden")
		f.join(room, bob)
		last := f.say(room, alice, "hello")
		lazy := &accounts.RoomEventFilter{LazyLoadMembers: true}
		c, err := f.sync.Context(t.Context(), rooms.Reader{User: bob}, room, last, 10, lazy)
		f.must(err)
		if got := types(f.read(c.Before)); !strings.HasPrefix(got, "member history_visibility member message ") {
			t.Errorf("before: %s", got)
		}
		if got := types(f.read(c.State)); strings.Count(got, "member") != 2 || !strings.Contains(got, "power_levels") {
			t.Errorf("state: %s", got)
		}
		for name, ask := range map[string]struct {
			user  matrix.UserID
			room  matrix.RoomID
			event matrix.EventID
		}{
			"hidden": {bob, room, hidden}, "outsider": {carol, room, secret}, "unknown event": {bob, room, "$nothing"},
			"unknown room": {bob, "!nowhere:test", secret}, "other room": {alice, f.create(rooms.CreateRequest{}), secret},
		} {
			_, err := f.sync.Context(t.Context(), rooms.Reader{User: ask.user}, ask.room, ask.event, 10, lazy)
			if matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"s1", "s1_2", "s1_2_3", "s-1", "s1_-1", "s+1", "s01", "", "s", "s9223372036854775808", "s1_0_3", "t1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := syncer.ParseToken(s)
		if err != nil {
			if matrix.Code(err) != "M_INVALID_PARAM" || token != (syncer.Token{}) {
				t.Fatalf("%v, %v", token, err)
			}
			return
		}
		again, err := syncer.ParseToken(token.String())
		if err != nil || again != token {
			t.Fatalf("%q is %v, and that is %q, %v, %v", s, token, token.String(), again, err)
		}
	})
}
