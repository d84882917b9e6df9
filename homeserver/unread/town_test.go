package unread_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/push"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// nobody is what a server without profiles and services has of them.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }

func (nobody) Unwanted(context.Context, matrix.UserID) (*accounts.Unwanted, error) {
	return accounts.UnwantedOf(nil), nil
}

// rulebook has messages notify, and those with mentions highlight.
type rulebook struct{ sets sync.Map }

func (b *rulebook) PushRulesAt(_ context.Context, user matrix.UserID) (accounts.Ruleset, int64, error) {
	if set, ok := b.sets.Load(user); ok {
		return set.(accounts.Ruleset), 0, nil
	}
	var set accounts.Ruleset
	err := json.Unmarshal(fmt.Appendf(nil, `{
		"override":[{"rule_id":"mention","enabled":true,"actions":["notify",{"set_tweak":"highlight"}],
			"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":%q}]},
			{"rule_id":"invite","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_match","key":"content.membership","pattern":"invite"}]}],
		"underride":[{"rule_id":"message","enabled":true,"actions":["notify"],
			"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.message"}]}]}`, user), &set)
	b.sets.Store(user, set)
	return set, 0, err
}

// A town is a homeserver as far as rooms, receipts and counting go.
type town struct {
	testing.TB
	db       *database.DB
	store    *storage.Store
	receipts *storage.Receipts
	notifier *notifier.Notifier
	rooms    *rooms.Service
	unread   *unread.Service
	ghost    func(matrix.UserID) bool
}

func open(t testing.TB, url string) *town {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := &town{TB: t, db: db, receipts: storage.NewReceipts(db)}
	s.start()
	t.Cleanup(func() { s.unread.Close() })
	return s
}

// start forgets everything that is not in the database.
func (s *town) start() {
	s.Helper()
	s.store = storage.New(s.db)
	position, err := s.store.Position(s.Context())
	s.must(err)
	key, err := matrix.NewSigningKey()
	s.must(err)
	s.notifier = notifier.New(s.store.Members, position)
	s.rooms = rooms.New(rooms.Options{
		Store: s.store, ServerName: "test", Key: key, DefaultVersion: "11", Listener: s.notifier, Profiles: nobody{}, Directory: nobody{},
	})
	s.unread = unread.New(unread.Options{
		Store: s.store, Notifications: storage.NewNotifications(s.db), Receipts: s.receipts, Threads: storage.NewThreads(s.db),
		Rooms: s.rooms, Rules: push.NewBook(new(rulebook)), AccountData: nobody{}, Notifier: s.notifier, Ghost: s.ghost,
	})
	s.must(s.unread.Start(s.Context()))
}

func (s *town) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *town) create(creator matrix.UserID) matrix.RoomID {
	s.Helper()
	id, err := s.rooms.Create(s.Context(), rooms.CreateRequest{Creator: creator, Preset: "public_chat"})
	s.must(err)
	return id
}

func (s *town) join(room matrix.RoomID, user matrix.UserID) {
	s.Helper()
	_, err := s.rooms.Join(s.Context(), string(room), rooms.MemberRequest{Sender: user})
	s.must(err)
}

func (s *town) leave(room matrix.RoomID, user matrix.UserID) {
	s.Helper()
	s.must(s.rooms.Leave(s.Context(), rooms.MemberRequest{Room: room, Sender: user}))
}

// send sends an event and returns it as it is stored.
func (s *town) send(room matrix.RoomID, sender matrix.UserID, typ string, content map[string]any, redacts matrix.EventID) *storage.Event {
	s.Helper()
	raw, err := json.Marshal(content)
	s.must(err)
	id, err := s.rooms.Send(s.Context(), rooms.SendRequest{Room: room, Sender: sender, Type: typ, Content: raw, Redacts: redacts})
	s.must(err)
	e, err := s.store.Events.ByID(s.Context(), id)
	s.must(err)
	return e
}

// read sends a receipt, for a thread, for "main", or for the whole room.
func (s *town) read(user matrix.UserID, kind string, e *storage.Event, thread string) {
	s.Helper()
	s.must(s.db.Update(s.Context(), func(tx *database.Tx) error {
		position, err := tx.Position(s.Context())
		if err != nil {
			return err
		}
		tx.OnCommit(func() { s.notifier.ReceiptsChanged(e.RoomNID, position) })
		_, err = s.receipts.Move(s.Context(), tx, storage.Receipt{
			RoomNID: e.RoomNID, User: user, Type: kind, Thread: thread, Event: e.ID, Ordering: e.Ordering, Position: position,
		})
		return err
	}))
}

// counts is what is unread, as text: "main 3/1 $root 1/0".
// counts is what somebody has not read in a room once all is counted.
func (s *town) counts(user matrix.UserID, room int64) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	s.must(s.unread.Counted(ctx, s.notifier.Position()))
	return s.countsNow(user, room)
}

// countsNow is what an answer would say.
func (s *town) countsNow(user matrix.UserID, room int64) string {
	s.Helper()
	r, err := s.unread.Counts(s.Context(), user, room, s.notifier.Position())
	s.must(err)
	return describe(r)
}

func describe(r unread.Room) string {
	text, err := json.Marshal(map[string]any{"main": r.Main, "threads": r.Threads})
	if err != nil {
		panic(err) // numbers always marshal
	}
	return string(text)
}

// listed is how many notifications a user has.
func (s *town) listed(user matrix.UserID) int {
	s.Helper()
	page, err := s.unread.List(s.Context(), unread.Request{Reader: rooms.Reader{User: user}})
	s.must(err)
	return len(page.Notifications)
}
