package rooms_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func said(sender matrix.UserID, txn string) rooms.SendRequest {
	return rooms.SendRequest{
		Sender: sender, AppService: "irc", Type: "m.room.message", Content: fmt.Appendf(nil, `{"body":%q}`, txn), TxnKey: txn,
	}
}

// transactions are those of what was said in a room, in order.
func (f *fixture) transactions(room matrix.RoomID) (all []string) {
	f.t.Helper()
	for _, e := range f.history(room) {
		if e.Type == "m.room.message" {
			all = append(all, e.TxnKey)
		}
	}
	return all
}

// The same request comes many times at once, and its first half once more by requests of their own.
func TestAnOrderedRequestThatIsRepeatedAtOnce(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		var steps []rooms.SendRequest
		var want []string
		for i := range 40 {
			steps = append(steps, said([]matrix.UserID{alice, bob}[i%2], fmt.Sprint(i)))
			want = append(want, fmt.Sprint(i))
		}
		steps = append(steps, steps[3]) // once more in the same request
		answers := make([][]rooms.Sent, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				for _, single := range steps[:4*i] {
					single.Room = room
					if _, err := f.Send(t.Context(), single); err != nil {
						t.Error(err)
					}
				}
				var err error
				if answers[i], err = f.SendOrdered(t.Context(), room, steps, false); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, answer := range answers {
			if !slices.Equal(answer, answers[0]) || len(answer) != 41 || answer[40] != answer[3] {
				t.Fatalf("%v and %v", answer, answers[0])
			}
		}
		if got := f.transactions(room); !slices.Equal(got, want) {
			t.Errorf("the room has %q", got)
		}
		again, err := open(t, url).SendOrdered(t.Context(), room, steps, false)
		if err != nil || !slices.Equal(again, answers[0]) {
			t.Errorf("after a restart %v, %v", again, err)
		}
	})
}

// What goes together is committed together.
func TestAnOrderedRequestIsOneTransaction(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		before := f.history(room)
		banned := said(carol, "x") // is not in the room
		sent, err := f.SendOrdered(t.Context(), room, []rooms.SendRequest{said(alice, "1"), banned, said(alice, "2"), said(alice, "3")}, false)
		if err != nil || len(sent) != 4 {
			t.Fatal(sent, err)
		}
		f.wantCode(sent[1].Err, "M_FORBIDDEN")
		after := f.history(room)[len(before):]
		for i, e := range after {
			if e.Position != after[0].Position+int64(i) || e.Depth != after[0].Depth+int64(i) {
				t.Errorf("event %d is at %d, depth %d; the first at %d, %d", i, e.Position, e.Depth, after[0].Position, after[0].Depth)
			}
		}
		if got := f.transactions(room); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("the room has %q", got)
		}
		sent, err = f.SendOrdered(t.Context(), room, []rooms.SendRequest{said(alice, "4"), banned, said(alice, "5")}, true)
		if err != nil || len(sent) != 2 || sent[0].Err != nil {
			t.Error(sent, err)
		}
		if got := f.transactions(room); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
			t.Errorf("then it has %q", got)
		}
	})
}

// A service that may not know who listens says nothing more, in whichever step that is noticed, and
// those whom it brings itself are no news.
func TestAnOrderedRequestEndsAtANewcomer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		known := f.history(room)
		step := func(txn string) rooms.SendRequest {
			req := said(alice, txn)
			req.Known = known[len(known)-1].ID
			return req
		}
		key := string(carol)
		comes := rooms.SendRequest{Sender: carol, AppService: "irc", Type: "m.room.member", StateKey: &key, Content: []byte(`{"membership":"join"}`)}
		sent, err := f.SendOrdered(t.Context(), room, []rooms.SendRequest{step("1"), comes, step("2")}, false)
		if err != nil || len(sent) != 3 || sent[2].Err != nil {
			t.Fatal(sent, err)
		}
		f.join(room, bob)
		sent, err = f.SendOrdered(t.Context(), room, []rooms.SendRequest{step("2"), step("3"), step("4")}, false)
		if err != nil || len(sent) != 2 || sent[0].Err != nil {
			t.Fatal(sent, err)
		}
		f.wantCode(sent[1].Err, "ORG.TRESTLE.NEWCOMER")
		if got := f.transactions(room); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("the room has %q", got)
		}
	})
}

// What follows from an event has followed before the next one is decided.
func TestAnOrderedRequestThatDoesMoreThanToSend(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		first := f.send(room, alice, "", "oh no")
		empty := ""
		guests := rooms.SendRequest{Sender: alice, AppService: "irc", Type: "m.room.guest_access", StateKey: &empty, Content: []byte(`{"guest_access":"forbidden"}`)}
		redaction := rooms.SendRequest{Sender: alice, AppService: "irc", Type: "m.room.redaction", Content: fmt.Appendf(nil, `{"redacts":%q}`, first), TxnKey: "r"}
		sent, err := f.SendOrdered(t.Context(), room, []rooms.SendRequest{said(alice, "1"), guests, said(alice, "2"), redaction, guests, said(alice, "3")}, true)
		if err != nil || len(sent) != 6 || sent[5].Err != nil || sent[1] != sent[4] {
			t.Fatal(sent, err)
		}
		e, _, err := f.Event(t.Context(), room, first, alice)
		if err != nil || e.RedactedBy == 0 {
			t.Errorf("the event is not redacted: %v, %v", e, err)
		}
	})
}
