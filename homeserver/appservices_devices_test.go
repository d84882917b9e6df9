package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

// keeper is a service that takes its users' keys and messages in transactions.
func keeper(r *registration.Registration) { r.ReceiveEphemeral, r.DeviceLists = true, true }

// device makes a device of one of the service's users and acts as it.
func (s *service) device(user id.UserID, device id.DeviceID) *mautrix.Client {
	s.t.Helper()
	client := s.as(user)
	if err := client.CreateDeviceMSC4190(s.t.Context(), device, "Bridge"); err != nil {
		s.t.Fatal(err)
	}
	client.SetAppServiceDeviceID = true
	return client
}

// uploadKeys gives a client's device a number of one-time keys, and identity keys
// if it has none. What they are made of does not matter to a server.
func uploadKeys(t *testing.T, client *mautrix.Client, first, n int) {
	t.Helper()
	upload := map[string]any{"one_time_keys": map[string]any{}}
	for i := range n {
		upload["one_time_keys"].(map[string]any)[fmt.Sprintf("signed_curve25519:K%d", first+i)] = map[string]any{"key": fmt.Sprintf("key%d", first+i), "signatures": map[string]any{}}
	}
	if first == 0 {
		upload["device_keys"] = identity(client.UserID, client.DeviceID)
		upload["fallback_keys"] = map[string]any{"signed_curve25519:F": map[string]any{"key": "fallback", "fallback": true, "signatures": map[string]any{}}}
	}
	_, err := client.MakeRequest(t.Context(), http.MethodPost, client.BuildClientURL("v3", "keys", "upload"), upload, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func identity(user id.UserID, device id.DeviceID) map[string]any {
	return map[string]any{
		"user_id": user, "device_id": device, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": map[string]string{"curve25519:" + string(device): "curve", "ed25519:" + string(device): "edward"}, "signatures": map[string]any{},
	}
}

func tell(t *testing.T, from *mautrix.Client, to id.UserID, device id.DeviceID, body string) {
	t.Helper()
	content := &event.Content{Raw: map[string]any{"body": body}}
	_, err := from.SendToDevice(t.Context(), event.NewEventType("m.test"), &mautrix.ReqSendToDevice{
		Messages: map[id.UserID]map[id.DeviceID]*event.Content{to: {device: content}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// told is the bodies of the messages to devices that a service was sent.
func told(t *testing.T, txns []*appservice.Transaction) (list []string) {
	for _, txn := range txns {
		for _, raw := range txn.ToDevice {
			var m struct {
				Type, Sender string
				User         string `json:"to_user_id"`
				Device       string `json:"to_device_id"`
				Content      struct{ Body string }
			}
			if err := json.Unmarshal(raw, &m); err != nil || m.Type != "m.test" || m.Sender != "@alice:test" {
				t.Errorf("the service was sent %s, %v", raw, err)
			}
			list = append(list, m.User+" "+m.Device+" "+m.Content.Body)
		}
	}
	return list
}

// inbox is how many messages /sync shows to a device.
func inbox(t *testing.T, client *mautrix.Client) int {
	t.Helper()
	res, err := client.FullSyncRequest(t.Context(), mautrix.ReqSync{})
	if err != nil {
		t.Fatal(err)
	}
	return len(res.ToDevice.Events)
}

func TestMessagesToDevicesLeaveTheirInboxWhenTheyAreDelivered(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		var down atomic.Bool
		down.Store(true)
		s := withService(t, database, keeper)
		s.Answer = func(testkit.Attempt) int {
			if down.Load() {
				return http.StatusBadGateway
			}
			return http.StatusOK
		}
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		bob := s.device("@irc_bob:test", "BRIDGE")
		s.device("@irc_bob:test", "SECOND")
		var want []string
		for i := range 150 {
			device := id.DeviceID("BRIDGE")
			if i%3 == 0 {
				device = "*"
			}
			tell(t, alice, bob.UserID, device, fmt.Sprint(i))
			want = append(want, fmt.Sprint("@irc_bob:test BRIDGE ", i))
			if device == "*" {
				want = append(want, fmt.Sprint("@irc_bob:test SECOND ", i))
			}
		}
		s.UntilAttempt(t, 2)
		if n := inbox(t, bob); n == 0 {
			t.Error("the inbox is empty, though nothing has been delivered")
		}
		down.Store(false)
		s.UntilSeen(t, "all messages", func(txns []*appservice.Transaction) bool { return len(told(t, txns)) >= len(want) })
		if got := told(t, s.Transactions()); !slices.Equal(got, want) {
			t.Errorf("the service was sent %q", got)
		}
		tell(t, alice, bob.UserID, "BRIDGE", "last")
		for deadline := time.Now().Add(time.Minute); inbox(t, bob) > 0; {
			if time.Now().After(deadline) {
				t.Fatal("what was delivered is still in the inbox")
			}
		}
	})
}

// Who only watches people takes nothing away from them.
func TestWatchersLeaveMessagesInTheInbox(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, keeper, func(r *registration.Registration) {
			everybody, err := registration.NewNamespace(`@.*:test`, false)
			if err != nil {
				t.Fatal(err)
			}
			r.Namespaces.Users = append(r.Namespaces.Users, everybody)
		})
		alice, carol := login(t, s.base, "alice"), login(t, s.base, "carol")
		for i := range 3 {
			tell(t, alice, carol.UserID, carol.DeviceID, fmt.Sprint(i))
		}
		s.UntilSeen(t, "the messages", func(txns []*appservice.Transaction) bool { return len(told(t, txns)) == 3 })
		room, _ := s.room(alice)
		say(t, alice, room, "and so they have been acknowledged")
		s.untilBody("and so they have been acknowledged")
		if n := inbox(t, carol); n != 3 {
			t.Errorf("carol has %d of 3 messages", n)
		}
	})
}

// What a service does with its users' devices takes nobody's password.
func TestServicesManageDevices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		s.register("irc_bob")
		bob := s.as("@irc_bob:test")
		const v3 = "/_matrix/client/v3"
		for _, tt := range []struct {
			method, path string
			body         any
			status       int
		}{
			{"PUT", "/devices/A", map[string]string{"display_name": "Bridge"}, http.StatusCreated},
			{"PUT", "/devices/A", map[string]string{"display_name": "Bridge 2"}, http.StatusOK},
			{"PUT", "/devices/B", map[string]string{}, http.StatusCreated},
			{"PUT", "/devices/C", map[string]string{}, http.StatusCreated},
			{"DELETE", "/devices/A", map[string]any{}, http.StatusOK},
			{"POST", "/delete_devices", map[string]any{"devices": []string{"B", "NONE"}}, http.StatusOK},
			{"POST", "/keys/device_signing/upload", map[string]any{"master_key": masterKey("A")}, http.StatusOK},
			{"POST", "/keys/device_signing/upload", map[string]any{"master_key": masterKey("B")}, http.StatusOK},
			{"GET", "/devices/A", nil, http.StatusNotFound},
			{"GET", "/devices/C", nil, http.StatusOK},
		} {
			if status, members := request(t, bob, tt.method, v3+tt.path, nil, tt.body); status != tt.status {
				t.Errorf("%s %s: %d %v, want %d", tt.method, tt.path, status, members, tt.status)
			}
		}
		alice := login(t, s.base, "alice")
		status, members := request(t, alice, "PUT", v3+"/devices/NEW", nil, map[string]string{})
		wantRefusal(t, "a person making a device", status, members, 404, "M_NOT_FOUND")
		status, members = request(t, bob, "GET", v3+"/account/whoami", url.Values{"device_id": {"A"}}, nil)
		wantRefusal(t, "acting as a device that is gone", status, members, 400, "M_UNKNOWN_DEVICE")
	})
}

func masterKey(letter string) map[string]any {
	public := strings.Repeat(letter, 42) + "A"
	return map[string]any{"user_id": "@irc_bob:test", "usage": []string{"master"}, "keys": map[string]string{"ed25519:" + public: public}}
}

func lists(txns []*appservice.Transaction) (changed, left []matrix.UserID) {
	for _, txn := range txns {
		if txn.DeviceLists != nil {
			changed, left = append(changed, txn.DeviceLists.Changed...), append(left, txn.DeviceLists.Left...)
		}
	}
	return changed, left
}

func TestServicesAreToldOfDeviceLists(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, keeper)
		ctx := t.Context()
		alice, carol, dave := login(t, s.base, "alice"), login(t, s.base, "carol"), login(t, s.base, "dave")
		room, _ := s.room(alice)
		until := func(what string, met func(changed, left []matrix.UserID) bool) {
			t.Helper()
			s.UntilSeen(t, what, func(txns []*appservice.Transaction) bool { return met(lists(txns)) })
		}
		uploadKeys(t, dave, 0, 1) // shares no room with the service
		uploadKeys(t, alice, 0, 1)
		until("alice's keys", func(changed, _ []matrix.UserID) bool { return slices.Contains(changed, "@alice:test") })
		uploadKeys(t, carol, 0, 1)
		if _, err := carol.JoinRoomByID(ctx, room); err != nil {
			t.Fatal(err)
		}
		until("carol coming in", func(changed, _ []matrix.UserID) bool { return slices.Contains(changed, "@carol:test") })
		second, _ := s.room2(alice)
		if _, err := carol.JoinRoomByID(ctx, second); err != nil {
			t.Fatal(err)
		}
		for _, r := range []id.RoomID{room, second} {
			if _, left := lists(s.Transactions()); len(left) > 0 {
				t.Errorf("%v have left, but are still there", left)
			}
			if _, err := carol.LeaveRoom(ctx, r); err != nil {
				t.Fatal(err)
			}
			say(t, alice, r, "carol has left "+string(r))
			s.untilBody("carol has left " + string(r))
		}
		until("carol leaving", func(_, left []matrix.UserID) bool { return slices.Equal(left, []matrix.UserID{"@carol:test"}) })
		if changed, _ := lists(s.Transactions()); slices.Contains(changed, "@dave:test") {
			t.Error("the service was told of dave, whom none of its users knows")
		}
	})
}

// When the first of a service's users comes into a room, whoever is there with
// keys is new to the service; when the last one leaves, it need not follow them
// any more, unless it sees them elsewhere.
func TestServicesAreToldWhomTheirOwnMovesConcern(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, keeper)
		ctx := t.Context()
		alice, carol := login(t, s.base, "alice"), login(t, s.base, "carol")
		s.register("irc_bob")
		s.register("irc_eve")
		bob, eve := s.as("@irc_bob:test"), s.as("@irc_eve:test")
		uploadKeys(t, alice, 0, 1)
		uploadKeys(t, carol, 0, 1)
		var places [2]id.RoomID
		for i, people := range [][]*mautrix.Client{{carol}, {}} {
			made, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat"})
			if err != nil {
				t.Fatal(err)
			}
			places[i] = made.RoomID
			for _, p := range people {
				if _, err := p.JoinRoomByID(ctx, made.RoomID); err != nil {
					t.Fatal(err)
				}
			}
		}
		move := func(who *mautrix.Client, join bool, room id.RoomID, changed, left []matrix.UserID) {
			t.Helper()
			wasChanged, wasLeft := lists(s.Transactions())
			var err error
			if join {
				_, err = who.JoinRoomByID(ctx, room)
			} else {
				_, err = who.LeaveRoom(ctx, room)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.untilMember(t, who.UserID, room, join)
			nowChanged, nowLeft := lists(s.Transactions())
			if got := nowChanged[len(wasChanged):]; !slices.Equal(got, changed) {
				t.Errorf("%s in %s %v: changed %v, want %v", who.UserID, room, join, got, changed)
			}
			if got := nowLeft[len(wasLeft):]; !slices.Equal(got, left) {
				t.Errorf("%s in %s %v: left %v, want %v", who.UserID, room, join, got, left)
			}
		}
		both := []matrix.UserID{"@alice:test", "@carol:test"}
		move(bob, true, places[0], both, nil)
		move(eve, true, places[0], nil, nil)
		move(bob, false, places[0], nil, nil)
		move(bob, true, places[1], both[:1], nil)
		move(eve, false, places[0], nil, both[1:]) // alice is in the other room
		move(bob, false, places[1], nil, both[:1])
	})
}

// untilMember waits until a service has heard of a membership of its user.
func (s *service) untilMember(t *testing.T, user id.UserID, room id.RoomID, joined bool) {
	t.Helper()
	membership := "leave"
	if joined {
		membership = "join"
	}
	s.UntilSeen(t, fmt.Sprint(user, " ", membership, " ", room), func(txns []*appservice.Transaction) bool {
		for _, txn := range txns {
			for _, raw := range txn.Events {
				var e struct {
					Room     id.RoomID `json:"room_id"`
					StateKey string    `json:"state_key"`
					Content  struct{ Membership string }
				}
				if json.Unmarshal(raw, &e) == nil && e.Room == room && e.StateKey == string(user) && e.Content.Membership == membership {
					return true
				}
			}
		}
		return false
	})
}

// room2 is another room with alice and the ghost.
func (s *service) room2(alice *mautrix.Client) (id.RoomID, *mautrix.Client) {
	s.t.Helper()
	made, err := alice.CreateRoom(s.t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		s.t.Fatal(err)
	}
	ghost := s.as("@irc_bob:test")
	if _, err := ghost.JoinRoomByID(s.t.Context(), made.RoomID); err != nil {
		s.t.Fatal(err)
	}
	return made.RoomID, ghost
}

func TestServicesAreToldHowManyKeysAreLeft(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, keeper)
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		bob := s.device("@irc_bob:test", "BRIDGE")
		bob.DeviceID = "BRIDGE"
		until := func(count int, fallback ...string) {
			t.Helper()
			s.UntilSeen(t, fmt.Sprint(count, " keys left, and ", fallback), func(txns []*appservice.Transaction) bool {
				for _, txn := range slices.Backward(txns) {
					counts, found := txn.OneTimeKeyCounts["@irc_bob:test"]["BRIDGE"]
					if found {
						types, told := txn.FallbackKeyTypes["@irc_bob:test"]["BRIDGE"]
						return counts["signed_curve25519"] == count && told && slices.Equal(types, fallback)
					}
				}
				return false
			})
		}
		uploadKeys(t, bob, 0, 2)
		until(2, "signed_curve25519")
		for left := 1; left >= -1; left-- {
			res, err := alice.ClaimKeys(t.Context(), &mautrix.ReqClaimKeys{OneTimeKeys: mautrix.OneTimeKeysRequest{bob.UserID: {"BRIDGE": "signed_curve25519"}}})
			if err != nil || len(res.OneTimeKeys[bob.UserID]["BRIDGE"]) != 1 {
				t.Fatalf("claimed %+v, %v", res, err)
			}
			if left >= 0 {
				until(left, "signed_curve25519")
			} else {
				until(0)
			}
		}
		uploadKeys(t, bob, 10, 5)
		until(5)
		for _, raw := range s.Transactions() {
			if _, found := raw.OneTimeKeyCounts["@alice:test"]; found {
				t.Error("the service was told of alice's keys")
			}
		}
	})
}

// What was told to services is spelled as they have it from the proposals.
func TestSpellingsOfDevices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		bodies := make(chan string, 100)
		s := withService(t, database, keeper)
		s.Body = func(body []byte) { bodies <- string(body) }
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		bob := s.device("@irc_bob:test", "BRIDGE")
		bob.DeviceID = "BRIDGE"
		uploadKeys(t, bob, 0, 1)
		tell(t, alice, bob.UserID, "BRIDGE", "hello")
		all := ""
		for _, part := range []string{
			`"de.sorunome.msc2409.to_device":[{"type":"m.test","sender":"@alice:test","to_user_id":"@irc_bob:test","to_device_id":"BRIDGE","content":{"body":"hello"}}]`,
			`"org.matrix.msc3202.device_lists":{"changed":["@irc_bob:test"],"left":[]}`,
			`"org.matrix.msc3202.device_one_time_keys_count":{"@irc_bob:test":{"BRIDGE":{"signed_curve25519":1}}}`,
			`"org.matrix.msc3202.device_unused_fallback_key_types":{"@irc_bob:test":{"BRIDGE":["signed_curve25519"]}}`,
		} {
			for !strings.Contains(all, part) {
				select {
				case body := <-bodies:
					all += body
				case <-t.Context().Done():
					t.Fatalf("%s is not in %s", part, all)
				}
			}
		}
	})
}
