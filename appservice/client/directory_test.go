package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trestle/appservice/client"
)

// history serves the events of a room, the newest first, and counts the pages. at is the time of each, in
// minutes since the moment that is asked for. The newest is that the bot joins, unless it was there before.
func history(t *testing.T, moment time.Time, state, before bool, at func(i int) (minutes int, ok bool)) (bot *client.User, pages *atomic.Int32) {
	t.Helper()
	pages = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/messages") || r.URL.Query().Get("dir") != "b" {
			http.NotFound(w, r)
			return
		}
		if pages.Add(1) > 500 {
			t.Error("it reads without end")
			http.Error(w, "{}", http.StatusForbidden)
			return
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		answer := map[string]any{"chunk": []any{}}
		var chunk []any
		for i := from; i < from+limit; i++ {
			minutes, ok := at(i)
			if !ok {
				break
			}
			e := map[string]any{"event_id": fmt.Sprintf("$%d", i), "type": "m.room.message", "origin_server_ts": moment.Add(time.Duration(minutes) * time.Minute).UnixMilli()}
			switch {
			case i == 0 && !before:
				e["type"], e["state_key"], e["content"] = "m.room.member", "@bot:hs", map[string]string{"membership": "join"}
			case state:
				e["state_key"] = ""
			}
			chunk = append(chunk, e)
		}
		if len(chunk) > 0 {
			answer["chunk"] = chunk
		}
		if _, more := at(from + limit); more {
			answer["end"] = strconv.Itoa(from + limit)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{HomeserverURL: server.URL, ServerName: "hs", ASToken: "as", SenderLocal: "bot"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Bot(), pages
}

func TestMissed(t *testing.T) {
	moment := time.UnixMilli(1_700_000_000_000)
	fresh := func(order ...int) (want []string) {
		for _, i := range order {
			want = append(want, fmt.Sprintf("$%d", i))
		}
		return want
	}
	for name, one := range map[string]struct {
		at            func(i int) (int, bool)
		state, before bool
		most          int
		want          []string
		pages         int
	}{
		"an old history is not read": {at: func(i int) (int, bool) { return 3 - i, i < 100_000 }, most: 500, want: fresh(3, 2, 1), pages: 4},
		"times are not the order": {at: func(i int) (int, bool) {
			return map[bool]int{true: 1, false: -9999}[i == 0 || i == 180 || i == 260], i < 300
		}, most: 500, want: fresh(260, 180), pages: 3},
		"the newest, in order":            {at: func(i int) (int, bool) { return 1, i < 1000 }, most: 3, want: fresh(3, 2, 1), pages: 1},
		"an endless one has bounds":       {at: func(i int) (int, bool) { return 1, true }, state: true, most: 500, pages: 50},
		"an empty one is read once":       {at: func(i int) (int, bool) { return 0, false }, most: 500, pages: 1},
		"what is as old as that belongs":  {at: func(i int) (int, bool) { return 1 - i, i < 3 }, most: 500, want: fresh(1), pages: 1},
		"who was there has heard of that": {at: func(i int) (int, bool) { return 1, i < 10 }, before: true, most: 500, pages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bot, pages := history(t, moment, one.state, one.before, one.at)
			events, err := bot.Missed(t.Context(), "!r:hs", moment, one.most)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, raw := range events {
				var e struct {
					ID string `json:"event_id"`
				}
				if err := json.Unmarshal(raw, &e); err != nil {
					t.Fatal(err)
				}
				got = append(got, e.ID)
			}
			if !slices.Equal(got, one.want) || int(pages.Load()) != one.pages {
				t.Errorf("it is %v in %d pages, not %v in %d", got, pages.Load(), one.want, one.pages)
			}
		})
	}
}
