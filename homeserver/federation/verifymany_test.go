package federation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// Of many events those stay whose signatures are good, whatever the servers of the others do.
func TestVerifyingManyEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		db := openDB(t, url)
		v := lookup(t, "10")
		var events, want []*matrix.Event
		var servers []*peer
		add := func(good bool, e *matrix.Event) {
			events = append(events, e)
			if good {
				want = append(want, e)
			}
		}
		parse := func(text string) *matrix.Event {
			e, err := federation.Received(v, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		for i := range 8 {
			p := w.peer(nil)
			p.says(t, w.now.Add(time.Hour), nil, p.key)
			if i == 7 {
				p.set(answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`))
			}
			servers = append(servers, p)
			for j := range 5 {
				user := matrix.NewUserID(fmt.Sprint("a", j), p.name)
				e := member(t, v, aRoom, user, `{"membership":"join","displayname":"Ann"}`, p.key)
				add(i < 7, e)
				add(i < 7, parse(changed(e, `"Ann"`, `"Eve"`))) // redacted
				add(false, parse(changed(e, `"depth":0`, `"depth":1`)))
				add(false, member(t, v, aRoom, user, `{"membership":"join","displayname":"Ann"}`, newKey(t)))
			}
		}
		add(true, member(t, v, aRoom, aUser, `{"membership":"join"}`, w.key))
		add(false, member(t, v, aRoom, aUser, `{"membership":"join"}`, newKey(t)))
		add(false, member(t, v, aRoom, "@a:127.0.0.1:1", `{"membership":"join"}`, newKey(t)))
		ring := w.ring(db)
		for range 2 {
			good, err := ring.VerifyEvents(t.Context(), events)
			if err != nil || !slices.Equal(good, want) {
				t.Errorf("%d events of %d are good, not %d: %v", len(good), len(events), len(want), err)
			}
			for _, e := range events {
				single := ring.VerifyEvent(t.Context(), e)
				if (single == nil) != slices.Contains(good, e) {
					t.Errorf("alone: %v", single)
				}
			}
		}
		for i, p := range servers {
			if p.asked() != 1 {
				t.Errorf("server %d was asked %d times", i, p.asked())
			}
			known, err := storage.NewServerKeys(db).Answer(t.Context(), db.Read(), p.name)
			if err != nil || known.Kept != (i < 7) {
				t.Errorf("the keys of server %d stay: %v %v", i, known.Kept, err)
			}
		}
		if good, err := ring.VerifyEvents(t.Context(), nil); err != nil || len(good) != 0 {
			t.Errorf("none: %v %v", good, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ring.VerifyEvents(ctx, events); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody wants it: %v", err)
		}
	})
}

// Keys of many servers are asked for at the same time.
func TestKeysOfManyServers(t *testing.T) {
	w := newWorld(t)
	const servers = 12
	came, all := make(chan struct{}, servers), make(chan struct{})
	var events []*matrix.Event
	for range servers {
		p := w.peer(nil)
		text := keysOf(t, p.name, w.now.Add(time.Hour), nil, p.key)
		p.set(func(w http.ResponseWriter, r *http.Request) {
			came <- struct{}{}
			select {
			case <-all:
			case <-r.Context().Done():
			}
			answers(200, text)(w, r)
		})
		events = append(events, member(t, lookup(t, "10"), aRoom, "@a:"+matrix.UserID(p.name), `{"membership":"join"}`, p.key))
	}
	go func() {
		for range servers {
			<-came
		}
		close(all)
	}()
	good, err := w.ring(openDB(t, testkit.SQLite(t))).VerifyEvents(t.Context(), events)
	if err != nil || len(good) != servers {
		t.Errorf("%d are good: %v", len(good), err)
	}
}

// An invite is by a third party only if whoever wrote it says so.
func TestInvitesOfThirdParties(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	p.says(t, w.now.Add(time.Hour), nil, p.key)
	ring := w.ring(openDB(t, testkit.SQLite(t)))
	for _, version := range []string{"8", "10", "11"} {
		v := lookup(t, version)
		// The forger has no key of the server whose user would have invited.
		e := member(t, v, aRoom, "@admin:"+matrix.UserID(p.name), `{"membership":"invite"}`, newKey(t))
		forged, err := federation.Received(v, []byte(changed(e, `"membership":"invite"`, `"membership":"invite","third_party_invite":1`)))
		if err != nil || strings.Contains(string(forged.Content), "third_party_invite") {
			t.Fatalf("%v %v", forged, err)
		}
		if good, err := ring.VerifyEvents(t.Context(), []*matrix.Event{forged}); err != nil || len(good) != 0 {
			t.Errorf("version %s: a forged invite is good: %v", version, err)
		}
	}
}
