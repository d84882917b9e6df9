package eventauth_test

import (
	"bytes"
	"maps"
	"testing"

	gmsl "github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
	"trestle/internal/matrix/stateres/roomgen"
)

// In generated rooms, gomatrixserverlib judges every event as we do, unless it
// deviates from the specification in a way that is listed below.
func TestLikeGomatrixserverlib(t *testing.T) {
	const steps = 80
	for id, rooms := range map[string]uint64{"1": 10, "3": 10, "6": 10, "7": 10, "9": 10, "10": 40, "11": 40, "12": 40} {
		t.Run("v"+id, func(t *testing.T) {
			v, _ := roomversion.Lookup(id)
			tries, known := 0, map[string]int{}
			for seed := range rooms {
				room, err := roomgen.New(v, seed, steps, stateres.Resolve)
				if err != nil {
					t.Fatal(err)
				}
				for _, try := range room.Tries {
					tries++
					theirs := gmslAllowed(t, try.Event, try.State)
					if (theirs == nil) == try.Allowed {
						continue
					}
					if why := deviation(try); why != "" {
						known[why]++
						continue
					}
					t.Errorf("room %d: %s by %s, content %s: allowed is %v here, but there the error is %v",
						seed, try.Event.Type, try.Event.Sender, try.Event.Content, try.Allowed, theirs)
				}
			}
			deviations := 0
			for n := range maps.Values(known) {
				deviations += n
			}
			t.Logf("%d events, of which gomatrixserverlib deviates on %v", tries, known)
			if deviations > tries/20 {
				t.Errorf("%d deviations among %d events are too many to call this a comparison", deviations, tries)
			}
		})
	}
}

// deviation is how gomatrixserverlib (v0.0.0-20250815065806) deviates from the
// authorization rules for an event, or empty. Rules are numbered as in room
// version 12.
func deviation(try roomgen.Try) string {
	e := try.Event
	if e.Type == "m.room.power_levels" {
		return levelsDeviation(try)
	}
	if e.Type != "m.room.member" {
		return ""
	}
	current := "leave"
	if before := try.State.Event("m.room.member", *e.StateKey); before != nil {
		current = before.Membership()
	}
	own := e.StateKeyIs(string(e.Sender))
	switch {
	case own && e.Membership() == "leave" && current == "leave":
		return "rule 5.5.1: who has left may not leave; it lets him"
	case own && e.Membership() == "join" && (current == "join" || current == "invite"):
		return "rule 5.3.7: nobody joins under a join rule that is not known; it lets invited and joined users"
	case own && e.Membership() == "knock" && !e.Version.KnockRestricted:
		return "before version 10, nobody knocks under a join rule other than knock; it takes knock_restricted for that"
	case own && e.Membership() == "join" && current == "knock":
		return "rule 5.3.6: everybody may join a public room; it does not let those who have knocked"
	case !own && e.Membership() == "leave" && current == "ban":
		return "rules 5.5.3 to 5.5.5: who unbans needs the kick level and more power than the target; it asks for the ban level only"
	}
	return ""
}

func levelsDeviation(try roomgen.Try) string {
	content := try.Event.Content
	if bytes.Contains(content, []byte("null")) {
		return "rules 10.1 to 10.3: levels must be integers; it takes null for nothing"
	}
	before := try.State.Event("m.room.power_levels", "")
	has := func(name string) bool {
		name = `"` + name + `":`
		return bytes.Contains(content, []byte(name)) || bytes.Contains(before.Content, []byte(name))
	}
	switch {
	case has("users_default"):
		return "rule 10.6: users_default is guarded like the others; it does not look at it"
	case has("notifications"):
		return "rule 10.7: a notification's level may be changed by those who have as much; it asks for more, and takes absent ones for 50"
	}
	return "rules 10.8 to 10.10: entries that are added or removed have no value to compare; it takes the default for it"
}

func gmslAllowed(t *testing.T, e *matrix.Event, state eventauth.StateMap) error {
	t.Helper()
	var auth []gmsl.PDU
	for _, need := range append(eventauth.Needed(e), eventauth.StateKey{Type: "m.room.create"}) {
		if e := state[need]; e != nil {
			auth = append(auth, pdu(t, e))
		}
	}
	provider, err := gmsl.NewAuthEvents(auth)
	if err != nil {
		t.Fatal(err)
	}
	return gmsl.Allowed(pdu(t, e), provider, func(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
		return spec.NewUserID(string(sender), true)
	})
}

func pdu(t *testing.T, e *matrix.Event) gmsl.PDU {
	t.Helper()
	version := gmsl.MustGetRoomVersion(gmsl.RoomVersion(e.Version.ID))
	pdu, err := version.NewEventFromTrustedJSONWithEventID(string(e.ID), e.JSON(), false)
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}
