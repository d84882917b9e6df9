package goclient_test

import (
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

func start(t *testing.T, database string) *place {
	t.Helper()
	return &place{Trestle: testkit.StartTrestle(t, testkit.TrestleOptions{Database: database, Args: []string{"--open-registration"}})}
}

// crossSign makes the keys with which a person signs her devices and others,
// and returns the key to the secret storage that holds them.
func (d *device) crossSign() (recovery string) {
	d.t.Helper()
	ctx := d.t.Context()
	recovery, _, err := d.machine.GenerateAndUploadCrossSigningKeysWithPassword(ctx, password, "")
	d.must(err)
	d.must(d.machine.SignOwnDevice(ctx, d.machine.OwnIdentity()))
	d.must(d.machine.SignOwnMasterKey(ctx))
	return recovery
}

// private is an encrypted room that the first of people has made and all have
// joined.
func private(t *testing.T, people ...*device) id.RoomID {
	t.Helper()
	owner := people[0]
	made, err := owner.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{
		Preset: "private_chat",
		InitialState: []*event.Event{{
			Type:    event.StateEncryption,
			Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
		}},
	})
	owner.must(err)
	for _, guest := range people[1:] {
		invite(t, owner, guest, made.RoomID)
	}
	for _, person := range people {
		person.until("that the room is encrypted", func() bool {
			encrypted, err := person.StateStore.IsEncrypted(t.Context(), made.RoomID)
			person.must(err)
			return encrypted
		})
		for _, other := range people {
			person.member(made.RoomID, other.UserID, event.MembershipJoin)
		}
	}
	return made.RoomID
}

// invite has somebody join a room, and the owner see it.
func invite(t *testing.T, owner, guest *device, room id.RoomID) {
	t.Helper()
	_, err := owner.InviteUser(t.Context(), room, &mautrix.ReqInviteUser{UserID: guest.UserID})
	owner.must(err)
	guest.member(room, guest.UserID, event.MembershipInvite)
	_, err = guest.JoinRoomByID(t.Context(), room)
	guest.must(err)
	owner.member(room, guest.UserID, event.MembershipJoin)
}

// session is the key that an event is encrypted with.
func (d *device) session(room id.RoomID, of id.EventID) id.SessionID {
	d.t.Helper()
	return d.event(room, of).Content.AsEncrypted().SessionID
}

// TestEncryptedRoom has people talk in an encrypted room: those who were there
// read everything on each of their devices, the one who came late only what
// was said since, and the one who has left nothing more.
func TestEncryptedRoom(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		server := start(t, database)
		alice, bob := register(t, server, "alice"), register(t, server, "bob")
		room := private(t, alice, bob)

		first := alice.says(room, "between us")
		bob.reads(room, first, "between us")
		answer := bob.says(room, "of course")
		alice.reads(room, answer, "of course")

		// A device that is new after the key was shared gets the next one.
		laptop := login(t, server, "bob")
		alice.knows(laptop)
		second := alice.says(room, "to both of you")
		bob.reads(room, second, "to both of you")
		laptop.reads(room, second, "to both of you")
		laptop.cannotRead(room, first)

		carol := register(t, server, "carol")
		invite(t, alice, carol, room)
		third := alice.says(room, "welcome")
		for _, d := range []*device{bob, laptop, carol} {
			d.reads(room, third, "welcome")
		}
		carol.cannotRead(room, second)

		_, err := bob.LeaveRoom(t.Context(), room)
		bob.must(err)
		alice.member(room, bob.UserID, event.MembershipLeave)
		fourth := alice.says(room, "he is gone")
		carol.reads(room, fourth, "he is gone")
		if alice.session(room, third) == alice.session(room, fourth) {
			t.Error("bob's key would still open what is said after he has left")
		}
	})
}

// TestManyRooms has people who know nothing of each other each begin a session
// with the same device.
func TestManyRooms(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		server := start(t, database)
		alice := register(t, server, "alice")
		for _, name := range []string{"bob", "carol", "dan"} {
			friend := register(t, server, name)
			room := private(t, alice, friend)
			said := friend.says(room, "hello from "+name)
			alice.reads(room, said, "hello from "+name)
			alice.reads(room, alice.says(room, "hello "+name), "hello "+name)
		}
	})
}
