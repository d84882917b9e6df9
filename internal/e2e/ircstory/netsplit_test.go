package ircstory_test

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// Two real servers lose each other. To a patient network's room nothing happens, and when they have
// found each other people go on talking; from that of an impatient one people leave.
func TestANetsplitIsHeldBack(t *testing.T) {
	pair := testkit.InspircdPair(t)
	bob, dave := testkit.DialIRC(t, pair.Here.Addr, "bob"), testkit.DialIRC(t, pair.There.Addr, "dave")
	for _, channel := range []string{"#patient", "#impatient"} {
		bob.Join(channel)
		dave.Join(channel)
		bob.Expect(":dave!", "JOIN", channel)
	}
	network := `
      %[1]s:
        enabled: true
        address: %[2]s
        bot_nick: %[1]s
        history: shared
        netsplit: %[3]s`
	trestle := startNetworks(t, testkit.TrestleOptions{}, "\n      local: {enabled: false, address: \"127.0.0.1:1\"}"+
		fmt.Sprintf(network, "patient", pair.Here.Addr, "10m")+fmt.Sprintf(network, "impatient", pair.Here.Addr, "1s")+"\n")
	alice := newPerson(t, trestle, "alice")
	rooms := map[string]id.RoomID{}
	for _, name := range []string{"patient", "impatient"} {
		alice.joins("#irc_" + name + "_#" + name + ":localhost")
		rooms[name] = alice.room
		alice.sees(daveOf(name), "join")
		bob.Expect(":alice", "JOIN", "#"+name)
	}

	pair.Split()
	bob.Expect(":dave!", "QUIT :irc.test there.test")
	alice.sees(daveOf("impatient"), "leave")
	// Behind the QUITs the channel goes on.
	bob.Say("#patient", "alone")
	alice.hears("@irc_patient_bob:localhost", "m.text", "alone")
	dave.Say("#patient", "to nobody")

	pair.Link()
	bob.Expect(":dave!", "JOIN", "#patient")
	dave.Say("#patient", "back")
	alice.hears(daveOf("patient"), "m.text", "back")
	dave.Say("#impatient", "back")
	alice.hears(daveOf("impatient"), "m.text", "back")
	for name, want := range map[string]string{"patient": "join", "impatient": "join leave join"} {
		if got := alice.memberships(rooms[name], daveOf(name)); got != want {
			t.Errorf("in the %s network's room dave is seen to %s, and not to %s", name, got, want)
		}
	}

	// Who does not come back with the others leaves with his own quit, and not in silence.
	pair.Split()
	bob.Expect(":dave!", "QUIT")
	dave.Send("QUIT :gone for good")
	pair.Link()
	eve := testkit.DialIRC(t, pair.There.Addr, "eve")
	eve.Join("#patient")
	alice.sees("@irc_patient_eve:localhost", "join")
	alice.sees(daveOf("impatient"), "leave")
}

func daveOf(network string) id.UserID { return id.UserID("@irc_" + network + "_dave:localhost") }

// memberships is how somebody has come and gone, as far as has been seen.
func (p *person) memberships(room id.RoomID, user id.UserID) (all string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.seen {
		if e.RoomID == room && e.Type == event.StateMember && e.GetStateKey() == string(user) {
			all += " " + fmt.Sprint(e.Content.Raw["membership"])
		}
	}
	return all[min(1, len(all)):]
}
