package unread_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/push"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// usualRules is the rules that users begin with.
type usualRules struct {
	text string
	sets sync.Map
}

func usual(b *testing.B) *usualRules {
	raw, err := os.ReadFile("../clientapi/testdata/pushrules.json")
	if err != nil {
		b.Fatal(err)
	}
	return &usualRules{text: string(raw)}
}

func (r *usualRules) PushRulesAt(_ context.Context, user matrix.UserID) (accounts.Ruleset, int64, error) {
	if set, ok := r.sets.Load(user); ok {
		return set.(accounts.Ruleset), 0, nil
	}
	var all struct {
		Global accounts.Ruleset `json:"global"`
	}
	err := json.Unmarshal([]byte(strings.ReplaceAll(r.text, "@alice:hs.example", string(user))), &all)
	localpart := user.Localpart()
	all.Global["content"] = append(all.Global["content"], accounts.PushRule{
		ID: ".m.rule.contains_user_name", Default: true, Enabled: true, Pattern: &localpart, Actions: json.RawMessage(`["notify"]`),
	})
	r.sets.Store(user, all.Global)
	return all.Global, 0, err
}

// BenchmarkFollow is how many events of a room the reader takes in a second,
// with so many local members to tell each of them. Stored is not waited for.
func BenchmarkFollow(b *testing.B) {
	for _, members := range []int{1, 5, 50} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			s := open(b, testkit.SQLite(b))
			room := s.create("@sender:test")
			for i := range members {
				s.join(room, matrix.UserID(fmt.Sprintf("@m%d:test", i)))
			}
			s.unread.Close()
			s.start()
			content := json.RawMessage(`{"msgtype":"m.text","body":"` + strings.Repeat("hello there ", 5) + `"}`)
			for b.Loop() {
				if _, err := s.rooms.Send(b.Context(), rooms.SendRequest{Room: room, Sender: "@sender:test", Type: "m.room.message", Content: content}); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			s.unread.Close()
			// Everything again, for a reader that has nothing yet.
			again := unread.New(unread.Options{
				Store: s.store, Notifications: storage.NewNotifications(s.db), Receipts: s.receipts, Threads: storage.NewThreads(s.db),
				Rooms: s.rooms, Rules: push.NewBook(usual(b)), AccountData: nobody{}, Notifier: s.notifier,
			})
			began := time.Now()
			if err := again.Replay(b.Context(), s.notifier.Position()-int64(b.N)); err != nil {
				b.Fatal(err)
			}
			took := time.Since(began)
			b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
			b.ReportMetric(float64(b.N*members)/took.Seconds(), "notifications/s")
		})
	}
}

// BenchmarkSend is messages by 64 senders at once into a room with ten readers,
// while they are held against rules and stored, and while they are not.
func BenchmarkSend(b *testing.B) {
	for name, following := range map[string]bool{"following": true, "alone": false} {
		b.Run(name, func(b *testing.B) {
			s := open(b, testkit.SQLite(b))
			room := s.create("@sender:test")
			for i := range 10 {
				s.join(room, matrix.UserID(fmt.Sprintf("@m%d:test", i)))
			}
			if !following {
				s.unread.Close()
			}
			content := json.RawMessage(`{"msgtype":"m.text","body":"hello there, how are you"}`)
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.rooms.Send(b.Context(), rooms.SendRequest{Room: room, Sender: "@sender:test", Type: "m.room.message", Content: content}); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
		})
	}
}
