package database_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

var (
	insertBenchEvent = database.SQL(`
		INSERT INTO bench_events (event_nid, event_id, room_nid, sender_nid, position, json)
		VALUES ($1, $2, $3, $4, $5, $6)`)
	selectBenchEvent = database.SQL(`
		SELECT event_nid, event_id, room_nid, position, json
		FROM bench_events
		WHERE event_nid = $1`)
	selectBenchPage = database.SQL(`
		SELECT event_nid, event_id, room_nid, position, json
		FROM bench_events
		WHERE room_nid = $1 AND position <= $2
		ORDER BY position DESC
		LIMIT 20`)
)

// benchURLs are a fresh database on each engine. BENCH_DIR chooses the disk.
func benchURLs(b *testing.B, bench func(b *testing.B, url string)) {
	b.Run("sqlite", func(b *testing.B) {
		dir := filepath.Dir(testkit.SQLite(b))
		if base := os.Getenv("BENCH_DIR"); base != "" {
			dir = filepath.Join(base, b.Name())
			if err := os.MkdirAll(dir, 0o700); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { os.RemoveAll(dir) })
		}
		bench(b, filepath.Join(dir, "bench.db"))
	})
	b.Run("postgres", func(b *testing.B) { bench(b, testkit.Postgres(b)) })
}

func insertEvents(b *testing.B, db *database.DB, senders, total int) {
	ctx := b.Context()
	ids := db.NewIDs("event")
	body := bytes.Repeat([]byte("x"), 1024)
	var next atomic.Int64
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for next.Add(1) <= int64(total) {
				id, err := ids.Next(ctx)
				if err != nil {
					b.Error(err)
					return
				}
				eventID := fmt.Sprintf("$%016x%016x%011d", uint64(id)*0x9e3779b97f4a7c15, uint64(id)*0xbf58476d1ce4e5b9, id)
				err = db.Update(ctx, func(tx *database.Tx) error {
					position, err := tx.Position(ctx)
					if err != nil {
						return err
					}
					return tx.Queue(ctx, insertBenchEvent, id, eventID, int64(sender%8), int64(sender), position, body)
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGroupedWrites(b *testing.B) {
	benchURLs(b, func(b *testing.B, url string) {
		var groups atomic.Int64
		db, err := database.Open(b.Context(), url, schema, database.Options{
			OnGroup: func(int, time.Duration) { groups.Add(1) },
		})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		insertEvents(b, db, 64, 2000)
		groups.Store(0)
		b.ResetTimer()
		insertEvents(b, db, 64, b.N)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		b.ReportMetric(float64(b.N)/float64(groups.Load()), "tx/group")
	})
}

func BenchmarkReads(b *testing.B) {
	benchURLs(b, func(b *testing.B, url string) {
		db, err := database.Open(b.Context(), url, schema, database.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		insertEvents(b, db, 64, 5000)
		var id, room, position int64
		var eventID string
		var body []byte
		b.Run("row", func(b *testing.B) {
			for i := range b.N {
				row := db.Read().QueryRow(b.Context(), selectBenchEvent, int64(i%5000+1))
				if err := row.Scan(&id, &eventID, &room, &position, &body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("page", func(b *testing.B) {
			for i := range b.N {
				rows, err := db.Read().Query(b.Context(), selectBenchPage, int64(i%8), int64(4000))
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
					if err := rows.Scan(&id, &eventID, &room, &position, &body); err != nil {
						b.Fatal(err)
					}
				}
				if err := rows.Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
