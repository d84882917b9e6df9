package sender_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/appservice/sender"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

var message = text(`{"content":{"body":"` + strings.Repeat("x", 200) + `","msgtype":"m.text"},"event_id":"$0123456789012345678901234567890123456789012",` +
	`"origin_server_ts":1700000000000,"room_id":"!r:hs.example","sender":"@irc_x:hs.example","type":"m.room.message","unsigned":{"age":12}}`)

// endless is a stream of n events that are made up as they are read.
type endless struct {
	n  int64
	by matrix.UserID
}

func (e endless) Head(context.Context) (int64, error) { return e.n, nil }

func (e endless) Count(_ context.Context, after, upTo int64) (int64, error) { return upTo - after, nil }

func (e endless) Changes(_ context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	var page []sender.Change
	for p := after + 1; p <= upTo && len(page) < limit; p++ {
		page = append(page, sender.Change{Position: p, Room: room, Sender: e.by, Body: message, Size: len(message), Time: 1})
	}
	return page, nil
}

func (e endless) Moves(context.Context, int64, int64, int) ([]sender.Change, error) { return nil, nil }

func (e endless) Room(context.Context, matrix.RoomID, int64) (sender.Room, error) {
	return sender.Room{}, nil
}

// BenchmarkDelivery delivers events to one service that answers at once, with
// each transaction frozen on disk: "lagging" from the stream, as after downtime.
func BenchmarkDelivery(b *testing.B) {
	for name, url := range map[string]func(b *testing.B) string{
		"sqlite":   func(b *testing.B) string { return filepath.Join(b.TempDir(), "bench.db") },
		"postgres": func(b *testing.B) string { return testkit.Postgres(b) },
	} {
		b.Run(name, func(b *testing.B) {
			db, err := database.Open(b.Context(), url(b), migrations.Homeserver, database.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			as := testkit.NewFakeAS(b, "")
			as.Forget = true
			reg := service(b, "irc", as.URL)
			as.HSToken = reg.HSToken
			store := storage.NewAppServices(db)
			begin := endless{}
			s := sender.New(sender.Options{Registry: registry(b, reg), Store: store, Stream: begin, Rooms: begin})
			if err := s.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			closeNow(s)
			const events = 100_000
			stream := endless{n: events, by: "@irc_x:" + server}
			for b.Loop() {
				b.StopTimer()
				stream.n += events
				s := sender.New(sender.Options{Registry: registry(b, reg), Store: store, Stream: stream, Rooms: stream})
				before := int(stream.n) - events
				b.StartTimer()
				if err := s.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
				as.Until(b, before)
				b.StopTimer()
				closeNow(s)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkUninterested is what a change costs that none of 100 services with
// 10,000 expressions wants.
func BenchmarkUninterested(b *testing.B) {
	var regs []*registration.Registration
	for i := range 100 {
		r := registration.Generate(fmt.Sprint(i), "http://localhost:1", fmt.Sprintf("bot%d", i))
		for j := range 100 {
			r.Namespaces.Users = append(r.Namespaces.Users, namespace(b, fmt.Sprintf("@_net%d_%d_.*", i, j), true))
		}
		regs = append(regs, r)
	}
	w := endless{by: "@alice:" + server}
	s := sender.New(sender.Options{Registry: registry(b, regs...), Store: newMemory(), Stream: w, Rooms: w})
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer closeNow(s)
	b.ResetTimer()
	s.Wake(int64(b.N))
	for s.Status()[99].Behind > 0 {
		time.Sleep(time.Millisecond)
	}
}
