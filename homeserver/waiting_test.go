package homeserver_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"maunium.net/go/mautrix"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

// run serves a homeserver on a port of its own, as the binary does, and returns
// its base URL and a function that stops it.
func run(t *testing.T, url string) (base string, stop func()) {
	t.Helper()
	cfg := settings(t, url, func(cfg *config.Config) { cfg.Listen = []string{"127.0.0.1:0"} })
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan homeserver.Running, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- homeserver.Run(ctx, cfg, slog.New(slog.DiscardHandler), homeserver.Hooks{Ready: func(r homeserver.Running) { ready <- r }})
	}()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	select {
	case r := <-ready:
		t.Cleanup(stop)
		return "http://" + r.Addresses[0], stop
	case err := <-ended:
		t.Fatal(err)
		return "", nil
	}
}

// untilParked waits until a request waits without a goroutine of net/http's.
func untilParked(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("listeners.(*parked).watch")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no request is parked")
		}
	}
}

// A client that has waited for long hears of news as one that has just come,
// however its wait ends.
func TestALongWaitInSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base, stop := run(t, url)
		ctx := t.Context()
		alice, bob := login(t, base, "alice"), login(t, base, "bob")
		room, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.JoinRoomByID(ctx, room.RoomID); err != nil {
			t.Fatal(err)
		}
		since := syncUntil(t, bob, "", func(res *mautrix.RespSync) bool { return res.Rooms.Join[room.RoomID] != nil })
		type heard struct {
			res *mautrix.RespSync
			err error
		}
		wait := func(timeout int) <-chan heard {
			answer := make(chan heard, 1)
			go func() {
				res, err := bob.FullSyncRequest(ctx, mautrix.ReqSync{Since: since, Timeout: timeout})
				answer <- heard{res, err}
			}()
			return answer
		}

		for _, text := range []string{"one", "two"} {
			answer := wait(60_000)
			untilParked(t)
			if _, err := alice.SendText(ctx, room.RoomID, text); err != nil {
				t.Fatal(err)
			}
			got := <-answer
			if got.err != nil {
				t.Fatal(got.err)
			}
			if said := messages(got.res, room.RoomID); len(said) != 1 || said[0] != text {
				t.Errorf("bob hears %q, want %s", said, text)
			}
			since = got.res.NextBatch
		}

		begin := time.Now()
		got := <-wait(700)
		if got.err != nil {
			t.Fatal(got.err)
		}
		if took := time.Since(begin); took < 700*time.Millisecond || len(got.res.Rooms.Join) != 0 {
			t.Errorf("a wait of 700 ms ended after %v with %v", took, got.res.Rooms.Join)
		}

		answer := wait(60_000)
		untilParked(t)
		stop()
		if got := <-answer; got.err != nil || len(got.res.Rooms.Join) != 0 {
			t.Errorf("when the server stops, bob is answered %+v", got)
		}
	})
}
