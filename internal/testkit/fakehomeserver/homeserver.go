// Package fakehomeserver is a homeserver that is just large enough to test a bridge
// against: rooms without rules, the few operations that bridges use, and
// delivery of transactions. It keeps everything in memory.
package fakehomeserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// The registration that the homeserver has for the bridge.
const (
	ServerName = "localhost"
	ASToken    = "as-token"
	HSToken    = "hs-token"
	Sender     = "ircbot"
)

// An Event is one that a room has.
type Event struct {
	ID       string          `json:"event_id"`
	Room     string          `json:"room_id"`
	Sender   string          `json:"sender"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key,omitempty"`
	Content  json.RawMessage `json:"content"`
	Time     int64           `json:"origin_server_ts"`
	Redacts  string          `json:"redacts,omitempty"`
	Arrived  time.Time       `json:"-"` // when the room got it
}

// Body is the text of a message.
func (e Event) Body() string { return e.text("body") }

// Membership is that of an m.room.member.
func (e Event) Membership() string { return e.text("membership") }

// Reason is why somebody left.
func (e Event) Reason() string { return e.text("reason") }

func (e Event) text(key string) string {
	var content map[string]any
	_ = json.Unmarshal(e.Content, &content)
	text, _ := content[key].(string)
	return text
}

// A Homeserver is one.
type Homeserver struct {
	URL string

	t      testing.TB
	server *httptest.Server
	client http.Client // which holds the bridge's answers to the specification

	mu      sync.Mutex
	changed chan struct{}
	down    bool
	service string // where the bridge listens
	next    int
	users   map[string]string // display names
	rooms   map[string][]Event
	ghosts  map[string]bool   // users that the bridge has made
	members map[string]string // memberships by room and user
	current map[place]Event   // the newest of each piece of state
	aliases map[string]string
	sent    map[string]string // event ID by sender, room and transaction
	queue   []Event           // for the bridge
	frozen  []Event           // the transaction that is under way
	txn     int
	fails   int // requests to be answered with 502
	held    *hold
	files   map[string]File
	openID  map[string]string // users by token

	ephemeral []json.RawMessage // for the bridge

	failCreation bool
	listed       map[string]bool // rooms in the directory
	locked       map[string]bool // rooms in which the bridge may not redact
	closed       map[string]bool // rooms in which virtual users may not speak
	private      map[string]bool // rooms for those who are invited
	unkickable   map[string]bool // rooms from which the bridge may remove nobody

	plain, denied bool // see Plain
	discreet      bool // see Discreet
	mute          bool // see Mute
	together      int  // requests of many events
}

// New starts a homeserver that knows no bridge yet.
func New(t testing.TB) *Homeserver {
	h := &Homeserver{
		t: t, changed: make(chan struct{}), users: map[string]string{}, rooms: map[string][]Event{},
		listed: map[string]bool{}, locked: map[string]bool{}, closed: map[string]bool{}, private: map[string]bool{}, unkickable: map[string]bool{},
		ghosts: map[string]bool{}, members: map[string]string{}, current: map[place]Event{}, aliases: map[string]string{}, sent: map[string]string{},
	}
	h.client.Transport = testkit.SpecTransport(t, http.DefaultTransport)
	h.server = httptest.NewServer(http.HandlerFunc(h.serve))
	h.URL = h.server.URL
	stop := make(chan struct{})
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		h.deliver(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-delivered
		h.server.CloseClientConnections()
		h.server.Close()
	})
	return h
}

// SetService says where the bridge listens; empty: nowhere.
func (h *Homeserver) SetService(url string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.service = url
	h.change()
}

// SetDown makes every request fail, as if the homeserver were not there.
func (h *Homeserver) SetDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
	h.change()
}

// Fail makes the next requests fail with 502, after they have had their effect.
func (h *Homeserver) Fail(requests int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = requests
}

// FailCreation makes the next room's creation fail after it has had its effect.
func (h *Homeserver) FailCreation() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failCreation = true
}

// change is called with mu held.
func (h *Homeserver) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// deliver sends transactions to the bridge: the same one until it is acknowledged.
func (h *Homeserver) deliver(stop <-chan struct{}) {
	for {
		h.mu.Lock()
		changed, service, txn := h.changed, h.service, h.txn
		if len(h.frozen) == 0 {
			n := min(len(h.queue), 50)
			h.frozen, h.queue = h.queue[:n:n], h.queue[n:]
		}
		batch, ephemeral := h.frozen, h.ephemeral
		if h.down || h.mute {
			batch, ephemeral = nil, nil
		}
		h.mu.Unlock()
		if len(batch)+len(ephemeral) > 0 && service != "" {
			if h.push(service, txn, batch, ephemeral) {
				h.mu.Lock()
				h.txn++
				h.frozen, h.ephemeral = nil, h.ephemeral[len(ephemeral):]
				h.change()
				h.mu.Unlock()
				continue
			}
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-stop:
				return
			}
		}
		select {
		case <-changed:
		case <-stop:
			return
		}
	}
}

func (h *Homeserver) push(service string, txn int, events []Event, ephemeral []json.RawMessage) bool {
	if events == nil {
		events = []Event{}
	}
	transaction := map[string]any{"events": events}
	if len(ephemeral) > 0 {
		transaction["ephemeral"] = ephemeral
	}
	body, _ := json.Marshal(transaction)
	target := fmt.Sprintf("%s/_matrix/app/v1/transactions/t%d", service, txn)
	status, _ := h.call(http.MethodPut, target, body)
	return status == http.StatusOK
}

func (h *Homeserver) call(method, target string, body []byte) (int, string) {
	req, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+HSToken)
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	var answer struct{ Errcode, Error string }
	_ = json.NewDecoder(resp.Body).Decode(&answer)
	return resp.StatusCode, answer.Errcode + " " + answer.Error
}

// A place is where a piece of state is.
type place struct{ room, kind, key string }

func (e *Event) place() place { return place{e.Room, e.Type, *e.StateKey} }

// add puts an event into a room, and into the bridge's queue. It is called with mu held.
func (h *Homeserver) add(e Event) string {
	h.next++
	e.ID = fmt.Sprintf("$e%d", h.next)
	e.Arrived = time.Now()
	if e.Time == 0 {
		e.Time = time.Now().UnixMilli()
	}
	h.rooms[e.Room] = append(h.rooms[e.Room], e)
	if e.StateKey != nil {
		h.current[e.place()] = e
	}
	if e.Type == "m.room.member" {
		h.members[e.Room+" "+*e.StateKey] = e.Membership()
	}
	if !h.discreet || h.concerns(e) {
		h.queue = append(h.queue, e)
	}
	h.change()
	return e.ID
}

// concerns tells whether an event is in a room in which the bridge has a user, or about one. It is called with mu held.
func (h *Homeserver) concerns(e Event) bool {
	ours := func(user string) bool { return user == "@"+Sender+":"+ServerName || h.ghosts[user] }
	if e.Type == "m.room.member" && ours(*e.StateKey) {
		return true
	}
	for key, membership := range h.members {
		room, user, _ := strings.Cut(key, " ")
		if room == e.Room && membership == "join" && ours(user) {
			return true
		}
	}
	return false
}

// Mute has the bridge hear of nothing, or again of all.
func (h *Homeserver) Mute(mute bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mute = mute
	h.change()
}

// Told waits until the bridge has taken all that there is to hear.
func (h *Homeserver) Told() {
	h.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		h.mu.Lock()
		left, changed := len(h.queue)+len(h.frozen), h.changed
		h.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			h.t.Fatalf("the bridge does not take %d events", left)
		}
	}
}

// Discreet has the bridge hear of no rooms but those in which it has users, and from then on.
func (h *Homeserver) Discreet() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.discreet = true
}

// membership is a user's in a room. It is called with mu held.
func (h *Homeserver) membership(room, user string) string {
	if membership := h.members[room+" "+user]; membership != "" {
		return membership
	}
	return "leave"
}

func (h *Homeserver) setMembership(room, sender, user, membership, reason string) {
	content := map[string]string{"membership": membership}
	if reason != "" {
		content["reason"] = reason
	}
	if name := h.users[user]; name != "" {
		content["displayname"] = name
	}
	raw, _ := json.Marshal(content)
	h.add(Event{Room: room, Sender: sender, Type: "m.room.member", StateKey: &user, Content: raw})
}

// Register makes a person.
func (h *Homeserver) Register(user, displayName string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users[user] = displayName
}

// Join joins a person to a room by its alias, asking the bridge if nobody knows it. It
// returns the room, or what the bridge said.
func (h *Homeserver) Join(user, alias string) (room, refusal string) {
	h.mu.Lock()
	room, known := h.aliases[alias]
	service := h.service
	h.mu.Unlock()
	if !known {
		status, answer := h.call(http.MethodGet, service+"/_matrix/app/v1/rooms/"+url.PathEscape(alias), nil)
		if status != http.StatusOK {
			return "", fmt.Sprint(status, " ", answer)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	room, known = h.aliases[alias]
	if !known {
		return "", "the bridge said 200 and there is no room"
	}
	h.setMembership(room, user, user, "join", "")
	return room, ""
}

// Member changes a membership as a person.
func (h *Homeserver) Member(room, sender, user, membership, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setMembership(room, sender, user, membership, reason)
}

// Send sends an event as a person.
func (h *Homeserver) Send(room, user, eventType string, stateKey *string, content string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(Event{Room: room, Sender: user, Type: eventType, StateKey: stateKey, Content: json.RawMessage(content)})
}

// Say sends a text as a person.
func (h *Homeserver) Say(room, user, body string) string {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	return h.Send(room, user, "m.room.message", nil, string(content))
}

// SayAt is Say on a homeserver with another clock.
func (h *Homeserver) SayAt(room, user, body string, at time.Time) string {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(Event{Room: room, Sender: user, Type: "m.room.message", Content: content, Time: at.UnixMilli()})
}

// Direct makes a room of a person and the bridge's user, which is invited.
func (h *Homeserver) Direct(user string) string {
	return h.DirectWith(user, "@"+Sender+":"+ServerName)
}

// Invitations are the rooms that a user is invited to.
func (h *Homeserver) Invitations(user string) (rooms []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for room := range h.rooms {
		if h.membership(room, user) == "invite" {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// DirectWith makes a room of a person and another user, who is invited.
func (h *Homeserver) DirectWith(user, other string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	room := fmt.Sprintf("!direct%d:%s", h.next, ServerName)
	h.setMembership(room, user, user, "join", "")
	h.setMembership(room, user, other, "invite", "")
	return room
}
