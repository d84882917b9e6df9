package asstory_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/testkit"
)

const (
	operations = "/_trestle/admin/v1"
	crash      = operations + "/appservices/crash"
)

// An operator is an administrator who does things to the service's queue.
type operator struct {
	*world
	token   string
	skipped map[string]bool // transactions that were to be skipped, done or not
	skips   int             // that were done for sure
}

// operator makes an administrator, as scripts do.
func (w *world) operator() *operator {
	w.t.Helper()
	const register = "/_synapse/admin/v1/register"
	nonce := w.must("", "GET", register, nil, "nonce")
	mac := hmac.New(sha1.New, []byte(secret))
	fmt.Fprintf(mac, "%s\x00root\x00correct horse\x00admin", nonce)
	token := w.must("", "POST", register, map[string]any{
		"nonce": nonce, "username": "root", "password": "correct horse", "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	}, "access_token")
	return &operator{world: w, token: token, skipped: map[string]bool{}}
}

// try makes a request once, and says whether it was answered with success.
func (o *operator) try(method, path string, body any, member string) (string, bool) {
	o.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		o.t.Fatal(err)
	}
	value, answered, err := o.once(o.t.Context(), o.token, method, path, raw, member)
	return value, answered && err == nil
}

// letters is the numbers of dead letters.
func (o *operator) letters() (numbers []int64, ok bool) {
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.trestle.BaseURL+crash+"/dead_letters?limit=1000", nil)
	if err != nil {
		return nil, false
	}
	r.Header.Set("Authorization", "Bearer "+o.token)
	answer, err := o.client.Do(r)
	if err != nil {
		return nil, false
	}
	defer answer.Body.Close()
	var page struct {
		Letters []struct{ Number int64 } `json:"dead_letters"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil || answer.StatusCode != http.StatusOK {
		return nil, false
	}
	for _, l := range page.Letters {
		numbers = append(numbers, l.Number)
	}
	return numbers, true
}

// meddle does one thing at random.
func (o *operator) meddle(random *rand.Rand) {
	nothing := map[string]any{}
	switch random.IntN(6) {
	case 0:
		o.try("POST", crash+"/pause", map[string]string{"reason": "to see"}, "")
	case 1:
		o.try("POST", crash+"/resume", nothing, "")
	case 2:
		if numbers, ok := o.letters(); ok && len(numbers) > 0 {
			o.replay(numbers[random.IntN(len(numbers))])
		}
	default:
		o.skip()
	}
}

// skip skips the first transaction, if there is one.
func (o *operator) skip() {
	if id, ok := o.try("GET", crash+"/transaction", nil, "transaction_id"); ok {
		o.skipped[id] = true
		if _, ok := o.try("POST", crash+"/skip", map[string]string{"transaction_id": id, "reason": "to see"}, ""); ok {
			o.skips++
		}
	}
}

// skipOne skips one for sure, if something waits or comes soon.
func (o *operator) skipOne() {
	o.t.Helper()
	o.must(o.token, "POST", crash+"/pause", map[string]any{}, "")
	before := o.skips
	for end := time.Now().Add(time.Minute); o.skips == before; o.skip() {
		if time.Now().After(end) {
			o.t.Fatal("nothing can be skipped")
		}
	}
	o.must(o.token, "POST", crash+"/resume", map[string]any{}, "")
}

func (o *operator) replay(number int64) {
	o.try("POST", fmt.Sprintf("%s/dead_letters/%d/replay", operations, number), map[string]any{}, "")
}

// replayAll goes on until there are no dead letters.
func (o *operator) replayAll() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		numbers, ok := o.letters()
		if ok && len(numbers) == 0 {
			return
		}
		for _, n := range numbers {
			o.replay(n)
		}
	}
	o.t.Fatal("there are still dead letters")
}

func number(t *testing.T, e entry) int {
	t.Helper()
	_, digits, _ := strings.Cut(e.ID, "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("transaction %q: %v", e.ID, err)
	}
	return n
}

// Operators pause, skip and replay while everybody is killed. In the order of
// their numbers the transactions are the stream, and so they came, but for those
// that were skipped.
func TestOperatorsMeddleWhoeverDies(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w := newWorld(t, database)
		alice := w.must("", "POST", v3+"/register", map[string]any{"username": "alice", "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"}}, "access_token")
		room, o := w.room(alice, "one"), w.operator()
		done := make(chan struct{})
		var living sync.WaitGroup
		living.Go(func() {
			w.live(done, func(ctx context.Context, n int) error {
				path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%d", v3, url.PathEscape(room), n)
				_, err := w.do(ctx, alice, "PUT", path, map[string]string{"msgtype": "m.text", "body": strings.Repeat("x", n%500)}, "")
				return err
			})
		})
		seed := rand.Uint64()
		living.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			w.live(done, func(context.Context, int) error { o.meddle(random); return nil })
		})
		w.kill(rand.New(rand.NewPCG(seed, 0)), max(2, deaths(t)/4))
		close(done)
		living.Wait()
		w.must(o.token, "POST", crash+"/pause", map[string]any{}, "")
		w.must(alice, "PUT", v3+"/rooms/"+url.PathEscape(room)+"/send/m.room.message/last", map[string]string{"msgtype": "m.text", "body": "x"}, "")
		o.skipOne()
		o.replayAll()
		want := w.stream(room)
		w.untilAll(func(rec record) bool { return len(rec.rooms[room]) >= len(want) })
		list, repeats := w.service.transactions() // which come with the same bytes
		newest := 0
		for _, e := range list {
			if n := number(t, e); !o.skipped[e.ID] {
				if n < newest {
					t.Errorf("seed %d: transaction %d came after %d", seed, n, newest)
				}
				newest = n
			}
		}
		slices.SortFunc(list, func(a, b entry) int { return number(t, a) - number(t, b) })
		if got := w.read(list, repeats).rooms[room]; !slices.Equal(got, want) {
			t.Errorf("seed %d: the service has %d events of %d: %s", seed, len(got), len(want), difference(got, want))
		}
		t.Logf("%d events in %d transactions, %d of them repeated, %d skipped and sent again", len(want), len(list), repeats, o.skips)
	})
}
