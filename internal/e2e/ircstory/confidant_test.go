package ircstory_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// A confidant is somebody whose client encrypts. It syncs while the test waits for something: the
// library is not made for two goroutines.
type confidant struct {
	*mautrix.Client
	t       *testing.T
	machine *crypto.OlmMachine
	states  *mautrix.MemoryStateStore
	since   string
	seen    []*event.Event
	joined  map[id.RoomID]bool
}

func newConfidant(t *testing.T, trestle *testkit.Trestle, name string) *confidant {
	t.Helper()
	client, err := mautrix.NewClient(trestle.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client = &http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport), Timeout: 2 * time.Minute}
	client.DefaultHTTPRetries = 0
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken, client.DeviceID = res.UserID, res.AccessToken, res.DeviceID
	c := &confidant{Client: client, t: t, joined: map[id.RoomID]bool{}, states: mautrix.NewMemoryStateStore().(*mautrix.MemoryStateStore)}
	c.states.JoinRules = map[id.RoomID]*event.JoinRulesEventContent{} // which the library forgets to make
	client.StateStore = c.states
	c.machine = crypto.NewOlmMachine(client, nil, crypto.NewMemoryStore(nil), c.states)
	c.must(c.machine.Load(t.Context()))
	c.must(c.machine.ShareKeys(t.Context(), 0))
	syncer := client.Syncer.(*mautrix.DefaultSyncer)
	syncer.OnSync(c.machine.ProcessSyncResponse)
	syncer.OnEvent(client.StateStoreSyncHandler)
	syncer.OnEventType(event.StateMember, c.machine.HandleMemberEvent)
	syncer.OnEvent(func(_ context.Context, e *event.Event) {
		if e.RoomID != "" {
			c.seen = append(c.seen, e)
		}
	})
	t.Cleanup(c.machine.Destroy)
	return c
}

func (c *confidant) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", c.UserID, err)
	}
}

// keepUp has the client read some of what has happened, before it is too much to be told of at once.
func (c *confidant) keepUp() {
	c.t.Helper()
	since := c.since
	c.until("that something has happened", func() bool { return c.since != since })
}

// until syncs until something is so. A server that is down is asked again.
func (c *confidant) until(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not see %s", c.UserID, what)
		}
		res, err := c.FullSyncRequest(c.t.Context(), mautrix.ReqSync{Since: c.since, Timeout: 100, FilterID: `{"room":{"timeline":{"limit":1000}}}`})
		if err == nil {
			for room, joined := range res.Rooms.Join {
				if joined.Timeline.Limited && c.joined[room] {
					c.t.Fatalf("%s does not see all that happens in %s", c.UserID, room)
				}
				c.joined[room] = true // what was before that is not for this client
			}
			since := c.since
			c.since = res.NextBatch
			c.must(c.Syncer.ProcessResponse(c.t.Context(), res, since))
		}
	}
}

// encryptedRoom makes one.
func (c *confidant) encryptedRoom(req mautrix.ReqCreateRoom) id.RoomID {
	c.t.Helper()
	req.InitialState = append(req.InitialState, &event.Event{
		Type:    event.StateEncryption,
		Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
	})
	made, err := c.CreateRoom(c.t.Context(), &req)
	c.must(err)
	c.until("that the room is encrypted", func() bool {
		encrypted, err := c.states.IsEncrypted(c.t.Context(), made.RoomID)
		c.must(err)
		return encrypted
	})
	return made.RoomID
}

// encryptsRoom begins to encrypt in a room.
func (c *confidant) encryptsRoom(room id.RoomID) {
	c.t.Helper()
	content := &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}
	_, err := c.SendStateEvent(c.t.Context(), room, event.StateEncryption, "", content)
	c.must(err)
	c.must(c.states.SetEncryptionEvent(c.t.Context(), room, content))
}

func (c *confidant) seesIn(room id.RoomID, user id.UserID) {
	c.t.Helper()
	c.until(string(user)+" in the room", func() bool { return c.states.IsInRoom(c.t.Context(), room, user) })
}

// knows waits until the client has a device of somebody.
func (c *confidant) knows(user id.UserID) {
	c.t.Helper()
	c.until("a device of "+string(user), func() bool {
		devices, err := c.machine.FetchKeys(c.t.Context(), []id.UserID{user}, true)
		c.must(err)
		return len(devices[user]) > 0
	})
}

// encrypts makes the content of an event that all in the room can read, or only some.
func (c *confidant) encrypts(room id.RoomID, content *event.MessageEventContent, readers ...id.UserID) *event.EncryptedEventContent {
	c.t.Helper()
	ctx := c.t.Context()
	encrypted, err := c.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	if crypto.IsShareError(err) {
		if len(readers) == 0 {
			readers, err = c.states.GetRoomJoinedOrInvitedMembers(ctx, room)
			c.must(err)
		}
		c.insists(func() error { return c.machine.ShareGroupSession(ctx, room, readers) })
		encrypted, err = c.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	}
	c.must(err)
	return encrypted
}

func plain(body string) *event.MessageEventContent {
	return &event.MessageEventContent{MsgType: event.MsgText, Body: body}
}

func (c *confidant) says(room id.RoomID, body string) id.EventID {
	c.t.Helper()
	return c.sends(room, c.encrypts(room, plain(body)))
}

func (c *confidant) sends(room id.RoomID, content *event.EncryptedEventContent) id.EventID {
	c.t.Helper()
	txn, sent := c.TxnID(), (*mautrix.RespSendEvent)(nil)
	c.insists(func() (err error) {
		sent, err = c.SendMessageEvent(c.t.Context(), room, event.EventEncrypted, content, mautrix.ReqSendEvent{TransactionID: txn})
		return err
	})
	return sent.EventID
}

// insists asks a server again that may be down.
func (c *confidant) insists(ask func() error) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", c.UserID, err)
		}
		again := time.NewTimer(20 * time.Millisecond)
		<-again.C
	}
}

// all is what somebody has said in a room, as far as it was encrypted, in order; of what cannot be read, why not.
func (c *confidant) all(room id.RoomID, sender id.UserID) (bodies []string) {
	c.t.Helper()
	for _, e := range c.seen {
		if e.RoomID != room || e.Sender != sender || e.Type != event.EventEncrypted {
			continue
		}
		plain, err := c.machine.DecryptMegolmEvent(c.t.Context(), e)
		if err != nil {
			bodies = append(bodies, fmt.Sprintf("unreadable %s: %v", e.ID, err))
			continue
		}
		bodies = append(bodies, plain.Content.AsMessage().Body)
	}
	return bodies
}

// hears waits for a message of somebody that is encrypted, and for whom the client can tell by
// the keys whose it is.
func (c *confidant) hears(room id.RoomID, sender id.UserID, body string) (times int) {
	c.t.Helper()
	c.until(string(sender)+" say "+body, func() bool {
		times = 0
		for _, e := range c.seen {
			if e.RoomID != room || e.Sender != sender {
				continue
			}
			if e.Type == event.EventMessage && e.Content.AsMessage().Body == body {
				c.t.Fatalf("%q was not encrypted", body)
			}
			if e.Type != event.EventEncrypted {
				continue
			}
			plain, err := c.machine.DecryptMegolmEvent(c.t.Context(), e)
			if err == nil && plain.Content.AsMessage().Body == body {
				times++
			}
		}
		return times > 0
	})
	return times
}
