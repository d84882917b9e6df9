package unread_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/push"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

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
				Rooms: s.rooms, Rules: push.NewBook(new(rulebook)), AccountData: nobody{}, Notifier: s.notifier,
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
