package rooms_test

import (
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func TestAServiceThatDoesNotKnowWhoListensSaysNothing(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		says := func(known matrix.EventID, service string) error {
			_, err := f.Send(t.Context(), rooms.SendRequest{
				Room: room, Sender: alice, AppService: service, Type: "m.room.message", Content: []byte(`{"body":"psst"}`), Known: known,
			})
			return err
		}
		newest := func() matrix.EventID {
			events := f.history(room)
			return events[len(events)-1].ID
		}
		before := newest()
		if err := says(before, "irc"); err != nil {
			t.Error(err)
		}
		f.join(room, bob)
		f.wantCode(says(before, "irc"), "ORG.TRESTLE.NEWCOMER")
		f.wantCode(says("$nothing", "irc"), "ORG.TRESTLE.NEWCOMER")
		f.wantCode(says(before, ""), "") // nobody but services asks for it
		joined := newest()
		if err := says(joined, "irc"); err != nil {
			t.Error(err)
		}
		// Those whom a service brings itself are no news to it, but to another one.
		if _, err := f.Join(t.Context(), string(room), rooms.MemberRequest{Sender: carol, AppService: "irc"}); err != nil {
			t.Fatal(err)
		}
		if err := says(joined, "irc"); err != nil {
			t.Error(err)
		}
		f.wantCode(says(joined, "xmpp"), "ORG.TRESTLE.NEWCOMER")
		// After a restart nobody remembers who came when.
		f = open(t, url)
		f.wantCode(says(joined, "irc"), "ORG.TRESTLE.NEWCOMER")
		if err := says(newest(), "irc"); err != nil {
			t.Error(err)
		}
	})
}
