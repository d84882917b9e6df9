package irc

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Of those who want the same room or channel one gets it, each state follows one other, and all of it is
// read again.
func TestPlumbsAreKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		load := func() *plumbs {
			p, err := loadPlumbs(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := load()
		wish := func(id, channel, room string) plumb {
			return plumb{ID: id, State: plumbAsked, Network: "local", Channel: []byte(channel), Name: []byte(channel), Room: matrix.RoomID(room)}
		}
		var all sync.WaitGroup
		won := make([]error, 10)
		for i := range won {
			channel, room := fmt.Sprintf("#%d", i), "!same:hs"
			if i%2 == 1 {
				channel, room = "#\xff", fmt.Sprintf("!%d:hs", i)
			}
			all.Go(func() { won[i] = p.add(t.Context(), wish(fmt.Sprint(i), channel, room)) })
		}
		all.Wait()
		got := slices.DeleteFunc(won, func(err error) bool { return err != nil })
		if len(got) != 2 {
			t.Errorf("%d have got a room or a channel that is one", len(got))
		}
		one, ok := p.ofRoom("!same:hs")
		if !ok {
			t.Fatal("nobody has the room")
		}
		grant := func(one *plumb) { one.State, one.Granted = plumbGranted, "bob!u@h" }
		moved := make([]error, 10)
		for i := range moved {
			all.Go(func() { _, moved[i] = p.move(t.Context(), one.ID, []string{plumbAsked}, grant, nil) })
		}
		all.Wait()
		again := slices.DeleteFunc(moved, func(err error) bool { return errors.Is(err, errMoved) })
		if len(again) != 1 || again[0] != nil {
			t.Errorf("granted by %v", again)
		}
		p = load()
		if one, _ = p.get(one.ID); one.State != plumbGranted || one.grantedBy() != "bob" {
			t.Errorf("read again it is %+v", one)
		}
		raw := p.find(func(one plumb) bool { return one.State == plumbAsked })
		if len(raw) != 1 || string(raw[0].Channel) != "#\xff" {
			t.Errorf("the other is %+v", raw)
		}
		end := func(one *plumb) { one.State, one.Until = plumbRefused, time.Now().UnixMilli() }
		if _, err := p.move(t.Context(), one.ID, []string{plumbGranted}, end, nil); err != nil {
			t.Fatal(err)
		}
		if err := p.prune(t.Context(), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if left := load().all; len(left) != 1 {
			t.Errorf("there are %d", len(left))
		}
	})
}
