package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/exchange"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// nobody is the profiles, directories and readers of a server on which nobody has any.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }
func (nobody) RoomChanged(rooms.Change)                                           {}
func (nobody) InviteBlocked(context.Context, matrix.UserID, matrix.UserID) (bool, error) {
	return false, nil
}
func (nobody) Carry(context.Context, matrix.UserID, matrix.RoomID, matrix.RoomID) error {
	return nil
}

// A server has rooms, and answers others by what it knows of them.
type server struct {
	*rooms.Service
	name  matrix.ServerName
	store *storage.Store
	t     testing.TB
}

// open makes the rooms of a server, with what is missing in the options.
func open(t testing.TB, url string, o rooms.Options) (*rooms.Service, *storage.Store) {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if o.Key, err = matrix.NewSigningKey(); err != nil {
		t.Fatal(err)
	}
	o.Store, o.Listener, o.Profiles, o.Directory, o.Settings = storage.New(db), nobody{}, nobody{}, nobody{}, nobody{}
	return rooms.New(o), o.Store
}

func newServer(t testing.TB, name matrix.ServerName, url string) *server {
	t.Helper()
	service, store := open(t, url, rooms.Options{ServerName: name, DefaultVersion: "11"})
	return &server{service, name, store, t}
}

func (s *server) user(name string) matrix.UserID { return matrix.NewUserID(name, s.name) }

func (s *server) say(room matrix.RoomID, sender, body string) *storage.Event {
	s.t.Helper()
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	return s.send(rooms.SendRequest{Room: room, Sender: s.user(sender), Type: "m.room.message", Content: content})
}

func (s *server) topic(room matrix.RoomID, sender, topic string) *storage.Event {
	s.t.Helper()
	content, _ := json.Marshal(map[string]string{"topic": topic})
	return s.send(rooms.SendRequest{Room: room, Sender: s.user(sender), Type: "m.room.topic", StateKey: new(string), Content: content})
}

func (s *server) send(req rooms.SendRequest) *storage.Event {
	s.t.Helper()
	id, err := s.Send(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := s.store.Events.ByID(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *server) head(room matrix.RoomID) (*storage.RoomInfo, *rooms.Snapshot) {
	s.t.Helper()
	info, err := s.Info(s.t.Context(), room)
	if err != nil {
		s.t.Fatal(err)
	}
	now, err := s.Head(s.t.Context(), info.NID)
	if err != nil {
		s.t.Fatal(err)
	}
	return info, now
}

// state is the IDs of a room's state events.
func (s *server) state(room matrix.RoomID) map[string]matrix.EventID {
	s.t.Helper()
	_, now := s.head(room)
	events, err := now.Events(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	state := map[string]matrix.EventID{}
	for _, e := range events {
		state[e.Type+" "+*e.StateKey] = e.ID
	}
	return state
}

// has reports whether an event is in the stream.
func (s *server) has(id matrix.EventID) bool {
	s.t.Helper()
	_, err := s.store.Events.ByID(s.t.Context(), id)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		s.t.Fatal(err)
	}
	return err == nil
}

// peers is another server as one asks it, without a network. All functions may be changed.
type peers struct {
	there *server
	asker matrix.ServerName

	mu     sync.Mutex
	asked  map[string]int
	broken map[string]error
	// proposed is called when a template has been made; it may be nil.
	proposed func()
	forged   map[matrix.EventID]bool
}

var _ exchange.Peers = (*peers)(nil)

func (p *peers) begin(what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[what]++
	return p.broken[what]
}

func (p *peers) MakeJoin(ctx context.Context, _ matrix.ServerName, room matrix.RoomID, user matrix.UserID, _ []string) (*federation.Template, error) {
	if err := p.begin("make_join"); err != nil {
		return nil, err
	}
	info, now := p.there.head(room)
	head, err := p.there.store.Rooms.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	key := string(user)
	t := &federation.Template{Version: info.Version, Event: matrix.EventTemplate{
		RoomID: room, Sender: user, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join"}`),
		OriginServerTS: 1_700_000_000_000, Depth: head.Depth + 1, PrevEvents: head.Extremities,
	}}
	for _, key := range eventauth.NeededFor(info.Version, t.Event) {
		e, err := now.Event(ctx, key.Type, key.Key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			t.Event.AuthEvents = append(t.Event.AuthEvents, e.ID)
		}
	}
	if p.proposed != nil {
		p.proposed()
	}
	return t, nil
}

func (p *peers) SendJoin(ctx context.Context, _ matrix.ServerName, join *matrix.Event) (*federation.JoinAnswer, error) {
	if err := p.begin("send_join"); err != nil {
		return nil, err
	}
	done, err := p.there.Receive(ctx, join.RoomID, []rooms.Arrival{{Event: join}})
	if err != nil || done[0].Refused != nil {
		return nil, errors.Join(err, done[0].Refused)
	}
	answer := &federation.JoinAnswer{Event: join}
	answer.State, answer.Auth, err = p.State(ctx, "", join.Version, join.RoomID, join.ID)
	return answer, err
}

func (p *peers) MakeKnock(context.Context, matrix.ServerName, matrix.RoomID, matrix.UserID, []string) (*federation.Template, error) {
	return nil, errors.Join(p.begin("make_knock"), federation.ErrAnswer)
}

func (p *peers) SendKnock(context.Context, matrix.ServerName, *matrix.Event) ([]json.RawMessage, error) {
	return nil, p.begin("send_knock")
}

func (p *peers) MakeLeave(context.Context, matrix.ServerName, matrix.RoomID, matrix.UserID, []string) (*federation.Template, error) {
	return nil, errors.Join(p.begin("make_leave"), federation.ErrAnswer)
}

func (p *peers) SendLeave(context.Context, matrix.ServerName, *matrix.Event) error {
	return p.begin("send_leave")
}

func (p *peers) Invite(_ context.Context, _ matrix.ServerName, invite *matrix.Event, _ []json.RawMessage) (*matrix.Event, error) {
	return invite, p.begin("invite")
}

func (p *peers) Event(ctx context.Context, _ matrix.ServerName, _ *roomversion.Version, _ matrix.RoomID, id matrix.EventID) (*matrix.Event, error) {
	if err := p.begin("event"); err != nil {
		return nil, err
	}
	return p.there.Peer(p.asker).Event(ctx, id)
}

func (p *peers) EventAuth(ctx context.Context, _ matrix.ServerName, _ *roomversion.Version, room matrix.RoomID, id matrix.EventID) (list []*matrix.Event, err error) {
	if err := p.begin("event_auth"); err != nil {
		return nil, err
	}
	return list, p.there.Peer(p.asker).Chain(ctx, room, id, into(&list))
}

func into(list *[]*matrix.Event) func([]*matrix.Event) error {
	return func(part []*matrix.Event) error {
		*list = append(*list, part...)
		return nil
	}
}

func (p *peers) State(ctx context.Context, _ matrix.ServerName, _ *roomversion.Version, room matrix.RoomID, id matrix.EventID) (state, auth []*matrix.Event, err error) {
	if err := p.begin("state"); err != nil {
		return nil, nil, err
	}
	past, err := p.there.Peer(p.asker).State(ctx, room, id)
	if err != nil {
		return nil, nil, err
	}
	if err := past.Events(ctx, into(&state)); err != nil {
		return nil, nil, err
	}
	return state, auth, past.Chain(ctx, into(&auth))
}

func (p *peers) StateIDs(ctx context.Context, server matrix.ServerName, room matrix.RoomID, id matrix.EventID) (state, auth []matrix.EventID, err error) {
	if err := p.begin("state_ids"); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	p.asked["state"]--
	p.mu.Unlock()
	events, chain, err := p.State(ctx, server, nil, room, id)
	for _, e := range events {
		state = append(state, e.ID)
	}
	for _, e := range chain {
		auth = append(auth, e.ID)
	}
	return state, auth, err
}

func (p *peers) MissingEvents(
	ctx context.Context, _ matrix.ServerName, _ *roomversion.Version, room matrix.RoomID,
	earliest, latest []matrix.EventID, minDepth int64, limit int,
) ([]*matrix.Event, error) {
	if err := p.begin("get_missing_events"); err != nil {
		return nil, err
	}
	return p.there.Peer(p.asker).Missing(ctx, room, rooms.Gap{Latest: latest, Earliest: earliest, MinDepth: minDepth, Limit: limit})
}

func (p *peers) Verified(_ context.Context, events []*matrix.Event) ([]*matrix.Event, error) {
	if err := p.begin("verified"); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(events), func(e *matrix.Event) bool { return p.forged[e.ID] }), nil
}

// A pair is two servers that share a room, of which one learns what the other tells.
type pair struct {
	there, here *server
	peers       *peers
	exchange    *exchange.Service
	room        matrix.RoomID
	t           testing.TB
}

func newPair(t testing.TB, url string) *pair {
	t.Helper()
	p := &pair{there: newServer(t, "there", testkit.SQLite(t)), here: newServer(t, "here", url), t: t}
	p.peers = &peers{there: p.there, asker: "here", asked: map[string]int{}, broken: map[string]error{}, forged: map[matrix.EventID]bool{}}
	p.exchange = exchange.New(exchange.Options{ServerName: "here", Key: p.here.Key, Store: p.here.store, Rooms: p.here.Service, Peers: p.peers})
	p.here.Connect(p.exchange)
	t.Cleanup(p.exchange.Close)
	id, err := p.there.Create(t.Context(), rooms.CreateRequest{Creator: p.there.user("alice"), Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	p.room = id
	return p
}

func (p *pair) join(user string) {
	p.t.Helper()
	_, err := p.here.Join(p.t.Context(), string(p.room), rooms.MemberRequest{Sender: p.here.user(user), Via: []matrix.ServerName{"there"}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// tell hands events over in one transaction.
func (p *pair) tell(events ...*storage.Event) map[matrix.EventID]error {
	p.t.Helper()
	var pdus []json.RawMessage
	for _, e := range events {
		pdus = append(pdus, e.JSON())
	}
	results, err := p.exchange.Transaction(p.t.Context(), "there", pdus)
	if err != nil {
		p.t.Fatal(err)
	}
	return results
}

func (p *pair) same() {
	p.t.Helper()
	there, here := p.there.state(p.room), p.here.state(p.room)
	for key, id := range there {
		if here[key] != id {
			p.t.Errorf("%s is %s there, and %s here", key, id, here[key])
		}
	}
	if len(there) != len(here) {
		p.t.Errorf("the state has %d events there, and %d here", len(there), len(here))
	}
}

func TestTransactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPair(t, url)
		p.join("bob")
		if p.peers.asked["send_join"] != 1 {
			t.Errorf("asked: %v", p.peers.asked)
		}
		p.join("carol")
		if p.peers.asked["send_join"] != 1 {
			t.Error("who comes into a room where this server is has asked another one")
		}
		hi := p.there.say(p.room, "alice", "hi")
		if results := p.tell(hi, hi); len(results) != 1 || results[hi.ID] != nil {
			t.Errorf("results: %v", results)
		}
		if results := p.tell(hi); results[hi.ID] != nil {
			t.Errorf("told again: %v", results)
		}
		if !p.here.has(hi.ID) || p.peers.asked["get_missing_events"] != 0 {
			t.Errorf("the event did not come just so: %v", p.peers.asked)
		}
		// What is missed is asked for.
		var missed []*storage.Event
		for i := range 30 {
			missed = append(missed, p.there.say(p.room, "alice", fmt.Sprint(i)))
			if i%10 == 0 {
				missed = append(missed, p.there.topic(p.room, "alice", fmt.Sprint(i)))
			}
		}
		last := p.there.say(p.room, "alice", "last")
		if results := p.tell(last); results[last.ID] != nil {
			t.Errorf("results: %v", results)
		}
		for _, e := range missed {
			if !p.here.has(e.ID) {
				t.Errorf("%s has not come", e.ID)
			}
		}
		if p.peers.asked["state_ids"] != 0 {
			t.Errorf("asked: %v", p.peers.asked)
		}
	})
}

func TestGaps(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for name, arrange := range map[string]func(p *pair){
			"too much was missed": func(p *pair) {
				for i := range 600 {
					p.there.say(p.room, "alice", fmt.Sprint(i))
				}
			},
			"what was missed is not told": func(p *pair) { p.peers.broken["get_missing_events"] = errors.New("no") },
			"the state is large": func(p *pair) {
				p.peers.broken["get_missing_events"] = errors.New("no")
				for i := range 150 {
					key := fmt.Sprint(i)
					p.there.send(rooms.SendRequest{Room: p.room, Sender: p.there.user("alice"), Type: "m.thing", StateKey: &key, Content: json.RawMessage(`{}`)})
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPair(t, testkit.EitherDatabase(t, 0))
				p.join("bob")
				p.there.topic(p.room, "alice", "unheard")
				arrange(p)
				for _, step := range []string{"a", "b"} {
					last := p.there.say(p.room, "alice", step)
					if results := p.tell(last); results[last.ID] != nil {
						t.Errorf("results: %v", results)
					}
					if !p.here.has(last.ID) {
						t.Errorf("%s has not come: %v", step, p.peers.asked)
					}
					p.same()
				}
				// This server goes on from there, and the other one follows.
				own := p.here.say(p.room, "bob", "mine")
				done, err := p.there.Receive(t.Context(), p.room, []rooms.Arrival{{Event: own.Event}})
				if err != nil || done[0].Verdict != storage.Placed {
					t.Errorf("the other server has it as %+v, %v", done, err)
				}
			})
		}
		_ = url
	})
}

// TestRefusals has events come that must not get in.
func TestRefusals(t *testing.T) {
	p := newPair(t, testkit.SQLite(t))
	unheard := p.there.say(p.room, "alice", "nobody of this server is in")
	if results := p.tell(unheard); len(results) != 0 {
		t.Errorf("of a room that is not known: %v", results)
	}
	p.join("bob")
	forged := p.there.say(p.room, "alice", "forged")
	p.peers.forged[forged.ID] = true
	if results := p.tell(forged); matrix.Code(results[forged.ID]) != "M_FORBIDDEN" || p.here.has(forged.ID) {
		t.Errorf("without a signature: %v", results)
	}
	// What comes after it cannot be told without what it is.
	after := p.there.say(p.room, "alice", "after it")
	if results := p.tell(after); results[after.ID] != nil || !p.here.has(after.ID) || p.here.has(forged.ID) {
		t.Errorf("after it: %v", results)
	}
	// Another server can do no more than its room allows.
	key := ""
	template := matrix.EventTemplate{
		RoomID: p.room, Sender: "@mallory:there", Type: "m.room.topic", StateKey: &key, Content: json.RawMessage(`{"topic":"mine"}`),
		Depth: after.Depth + 1, PrevEvents: []matrix.EventID{after.ID}, AuthEvents: after.AuthEvents[:2],
	}
	e, err := template.Build(after.Version, "there", p.there.Key)
	if err != nil {
		t.Fatal(err)
	}
	if results := p.tell(&storage.Event{Event: e}); matrix.Code(results[e.ID]) != "M_FORBIDDEN" || p.here.has(e.ID) {
		t.Errorf("of somebody who is not in the room: %v", results)
	}
	// What comes before an event is asked for once.
	template.PrevEvents, template.Sender = []matrix.EventID{"$" + matrix.EventID(matrix.RandomString(43))}, p.there.user("alice")
	if e, err = template.Build(after.Version, "there", p.there.Key); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		asked := p.peers.asked["state_ids"]
		if results := p.tell(&storage.Event{Event: e}); len(results) != 1 || results[e.ID] != nil || p.here.has(e.ID) {
			t.Errorf("out of nowhere: %v", results)
		}
		if now := p.peers.asked["state_ids"]; asked > 1 && now > asked {
			t.Errorf("asked for the state %d times", now)
		}
	}
	results, err := p.exchange.Transaction(t.Context(), "there", []json.RawMessage{
		json.RawMessage(`{}`), json.RawMessage(`7`), json.RawMessage(`{"room_id":7}`), json.RawMessage(fmt.Sprintf(`{"room_id":%q}`, p.room)),
	})
	if err != nil || len(results) != 0 {
		t.Errorf("what is no event: %v, %v", results, err)
	}
}

// TestJoinsThatFail asks one server after another.
func TestJoinsThatFail(t *testing.T) {
	p := newPair(t, testkit.SQLite(t))
	join := func(via ...matrix.ServerName) error {
		_, err := p.here.Join(t.Context(), string(p.room), rooms.MemberRequest{Sender: p.here.user("bob"), Via: via})
		return err
	}
	p.peers.broken["make_join"] = &federation.Unreachable{Server: "there"}
	if err := join("one", "two", "one"); matrix.Code(err) != "M_UNKNOWN" || p.peers.asked["make_join"] != 2 {
		t.Errorf("%v after asking %v", err, p.peers.asked)
	}
	p.peers.broken["make_join"] = &federation.Refusal{Server: "there", Status: 403, Code: "M_FORBIDDEN", Message: "no"}
	if err := join("one", "two"); matrix.Code(err) != "M_FORBIDDEN" || p.peers.asked["make_join"] != 3 {
		t.Errorf("%v after asking %v", err, p.peers.asked)
	}
	delete(p.peers.broken, "make_join")
	p.peers.broken["send_join"] = federation.ErrAnswer
	if err := join("one"); matrix.Code(err) != "M_UNKNOWN" {
		t.Error(err)
	}
	delete(p.peers.broken, "send_join")
	if err := join("one"); err != nil {
		t.Error(err)
	}
	if err := join(); err != nil {
		t.Error(err)
	}
	// Where this server is in the room, what the room does not allow is nothing to ask others for.
	rules := p.there.send(rooms.SendRequest{
		Room: p.room, Sender: p.there.user("alice"), Type: "m.room.join_rules", StateKey: new(string), Content: json.RawMessage(`{"join_rule":"invite"}`),
	})
	p.tell(rules)
	asked := p.peers.asked["make_join"]
	_, err := p.here.Join(t.Context(), string(p.room), rooms.MemberRequest{Sender: p.here.user("carol"), Via: []matrix.ServerName{"one"}})
	if now := p.peers.asked["make_join"]; matrix.Code(err) != "M_FORBIDDEN" || now != asked {
		t.Errorf("%v after asking %d times", err, now-asked)
	}
}

// TestWhatIsSaidWhileSomebodyComes has things happen there between the template of a join and the join: they come after what is past for this
// server, of which it is told more than it wants.
func TestWhatIsSaidWhileSomebodyComes(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPair(t, url)
		p.there.say(p.room, "alice", "long ago")
		var meanwhile []*storage.Event
		p.peers.proposed = func() {
			meanwhile = append(meanwhile, p.there.topic(p.room, "alice", "meanwhile"), p.there.say(p.room, "alice", "meanwhile"))
		}
		p.join("bob")
		p.tell(meanwhile[1])
		later := p.there.say(p.room, "alice", "later")
		if results := p.tell(later); results[later.ID] != nil {
			t.Errorf("results: %v", results)
		}
		p.same()
		info, _ := p.here.head(p.room)
		events, err := p.here.store.Events.Forward(t.Context(), info.NID, storage.Beginning, 1<<62, 100)
		if err != nil {
			t.Fatal(err)
		}
		var ids []matrix.EventID
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		if want := []matrix.EventID{events[0].ID, meanwhile[0].ID, meanwhile[1].ID, later.ID}; !slices.Equal(ids, want) {
			t.Errorf("the stream has %d events, want %d", len(ids), len(want))
		}
	})
}

// TestWhatCouldNotBeTakenInIsSentAgain has this server fail at what is no fault of the events: that is no answer to each of them, after which nobody would
// send them again.
func TestWhatCouldNotBeTakenInIsSentAgain(t *testing.T) {
	p := newPair(t, testkit.SQLite(t))
	p.join("bob")
	said := p.there.say(p.room, "alice", "hi")
	for _, failure := range []error{errors.New("the disk is full"), matrix.LimitExceeded(time.Second)} {
		p.peers.broken["verified"] = failure
		if results, err := p.exchange.Transaction(t.Context(), "there", []json.RawMessage{said.JSON()}); !errors.Is(err, failure) {
			t.Errorf("%v: %v, %v", failure, results, err)
		}
	}
	delete(p.peers.broken, "verified")
	if results := p.tell(said); results[said.ID] != nil || !p.here.has(said.ID) {
		t.Errorf("sent again: %v", results)
	}
	p.exchange.Close()
	if _, err := p.exchange.Transaction(t.Context(), "there", nil); matrix.Code(err) != "M_UNKNOWN" {
		t.Errorf("after the end: %v", err)
	}
}
