package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/homeserver/ledger"
	"trestle/homeserver/registrar"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

const root = matrix.UserID("@root:hs.example")

// A stub is a sender and a registrar that say what they are told to.
type stub struct {
	err    error
	during func() // while something is being done
	did    []string
}

func (s *stub) do(what string, about ...any) error {
	s.did = append(s.did, strings.TrimSpace(what+" "+fmt.Sprint(about...)))
	if s.during != nil {
		s.during()
	}
	return s.err
}

func (s *stub) Retry(id string) { _ = s.do("retry", id) }
func (s *stub) Ping(_ context.Context, id, _ string) (time.Duration, error) {
	return time.Second, s.do("ping", id)
}
func (s *stub) Pause(_ context.Context, id, _ string) error { return s.do("pause", id) }
func (s *stub) Resume(_ context.Context, id string) error   { return s.do("resume", id) }
func (s *stub) Skip(_ context.Context, id, transaction, _, by string) error {
	return s.do("skip", id, " ", transaction, " ", by)
}
func (s *stub) SkipAll(_ context.Context, id, _, by string) (appservice.Skipped, error) {
	return appservice.Skipped{Transactions: 1, Frozen: 3, Passed: 40, AtMost: true}, s.do("skip all", id, " ", by)
}
func (s *stub) Forget(_ context.Context, id string) (appservice.Place, error) {
	return appservice.Place{Service: id, Position: 7, Frozen: 2, Events: 1}, s.do("forget", id)
}
func (s *stub) DeadLetter(_ context.Context, number int64) (appservice.DeadLetter, error) {
	if number != 7 {
		return appservice.DeadLetter{}, matrix.NotFound("There is no dead letter %d.", number)
	}
	return appservice.DeadLetter{Number: 7, Service: "tea", Transaction: "e-3", Reason: "it chokes"}, nil
}
func (s *stub) Replay(_ context.Context, number int64) error  { return s.do("replay", number) }
func (s *stub) Discard(_ context.Context, number int64) error { return s.do("discard", number) }

func (s *stub) Add(context.Context, string, []byte, bool) (*registrar.Report, string, error) {
	return nil, "tea.yaml", s.do("add")
}
func (s *stub) Remove(_ context.Context, id string) (string, error) { return "", s.do("remove", id) }
func (s *stub) Rotate(_ context.Context, id string, both bool, grace time.Duration) (*registrar.Rotated, error) {
	return &registrar.Rotated{ASToken: "a secret"}, s.do("rotate", id, both, grace)
}
func (s *stub) Reload(context.Context) ([]registration.Change, error) { return nil, s.do("reload") }

// open makes a ledger whose clock the test has.
func open(t *testing.T, url string, s *stub, now *time.Time) *ledger.Service {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return ledger.New(ledger.Options{
		Store: storage.NewAppServiceLog(db), Deliveries: s, Registrations: s, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Now: func() time.Time { return *now },
	})
}

// lines are the deeds of a service, or of all, without numbers and times.
func lines(t *testing.T, l *ledger.Service, service string) []string {
	t.Helper()
	deeds, err := l.Deeds(t.Context(), service, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range deeds {
		line := fmt.Sprintf("%s %s %s %s %d %q %d %q", d.By, d.Action, d.Service, d.Transaction, d.Letter, d.Reason, d.Outcome, d.Error)
		if d.Result != "" {
			line += " " + d.Result
		}
		list = append(list, strings.TrimPrefix(line, string(root)+" "))
	}
	return list
}

const tea = "id: tea\nurl: null\nas_token: x0123456789012345678901234567890123456789\nhs_token: x9876543210987654321098765432109876543210\n" +
	"sender_localpart: tea_bot\nnamespaces: {users: [], aliases: [], rooms: []}\n"

// everything is all that operators can do.
func everything(ctx context.Context, l *ledger.Service) map[string]func() error {
	return map[string]func() error{
		`pause tea  0 "late" 1 ""`:        func() error { return l.Pause(ctx, root, "tea", "late") },
		`resume tea  0 "" 1 ""`:           func() error { return l.Resume(ctx, root, "tea") },
		`retry tea  0 "" 1 ""`:            func() error { return l.Retry(ctx, root, "tea") },
		`ping tea  0 "" 1 ""`:             func() error { _, err := l.Ping(ctx, root, "tea"); return err },
		`skip tea e-3 0 "it chokes" 1 ""`: func() error { return l.Skip(ctx, root, "tea", "e-3", "it chokes") },
		`skip_all tea  0 "a flood" 1 "" 1 transaction with 3 events, now dead letters; at most 40 events not sent`: func() error {
			skipped, err := l.SkipAll(ctx, root, "tea", "a flood")
			if err == nil && skipped.Passed != 40 {
				return errors.New("nothing is counted")
			}
			return err
		},
		`forget tea  0 "it never comes back" 1 "" position 7, 2 transactions with 1 event, 0 dead letters`: func() error {
			place, err := l.Forget(ctx, root, "tea", "it never comes back")
			if err == nil && place.Frozen != 2 {
				return errors.New("nothing is counted")
			}
			return err
		},
		`replay tea e-3 7 "" 1 ""`:         func() error { return l.Replay(ctx, root, 7) },
		`discard tea e-3 7 "too old" 1 ""`: func() error { return l.Discard(ctx, root, 7, "too old") },
		`rotate_token tea  0 "both tokens; old ones are good for 24 h" 1 ""`: func() error {
			rotated, err := l.Rotate(ctx, root, "tea", true, 24*time.Hour)
			if err == nil && rotated.ASToken != "a secret" {
				return errors.New("no token")
			}
			return err
		},
		`rotate_token tea  0 "the service's token; old ones are refused at once" 1 ""`: func() error { _, err := l.Rotate(ctx, root, "tea", false, 0); return err },
		`add tea  0 "" 1 ""`:                   func() error { _, _, err := l.Add(ctx, root, "tea.yaml", []byte(tea), false); return err },
		`remove tea  0 "no tea any more" 1 ""`: func() error { _, err := l.Remove(ctx, root, "tea", "no tea any more"); return err },
		`reload   0 "" 1 ""`:                   func() error { _, err := l.Reload(ctx, root); return err },
	}
}

// Whatever an operator does is on record before it is done, and how it ended is
// afterwards; a secret is in none of it.
func TestWhatOperatorsDoIsOnRecord(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, now := &stub{}, time.UnixMilli(86_400_000)
		l := open(t, url, s, &now)
		var want []string
		for line, do := range everything(t.Context(), l) {
			s.during = func() {
				begun, _, _ := strings.Cut(line, ` 1 ""`)
				if got := lines(t, l, ""); got[0] != begun+` 0 ""` {
					t.Errorf("while it is done, the record says %s", got[0])
				}
			}
			if err := do(); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			want = append([]string{line}, want...)
		}
		s.during = nil
		if got := lines(t, l, ""); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(s.did) != len(want) || !slices.Contains(s.did, "skip tea e-3 @root:hs.example") {
			t.Errorf("done was %q", s.did)
		}
		if got := lines(t, l, "tea"); len(got) != len(want)-1 {
			t.Errorf("about tea: %q", got)
		}
		if got := lines(t, l, "coffee"); len(got) != 0 {
			t.Errorf("about coffee: %q", got)
		}
		deeds, err := l.Deeds(t.Context(), "", 0, 1)
		if err != nil || len(deeds) != 1 || !deeds[0].At.Equal(now) {
			t.Fatalf("%+v, %v", deeds, err)
		}
		rest, err := l.Deeds(t.Context(), "", deeds[0].Number, 100)
		if err != nil || len(rest) != len(want)-1 || rest[0].Number >= deeds[0].Number {
			t.Errorf("behind the first are %d, %v", len(rest), err)
		}
	})
}

func TestWhatFailsIsOnRecord(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, now := &stub{}, time.UnixMilli(86_400_000)
		l, ctx := open(t, url, s, &now), t.Context()
		for _, c := range []struct {
			err  error
			want []string
		}{
			{matrix.NewError(http.StatusBadGateway, "M_BAD_STATUS", "It said 418."), []string{`ping tea  0 "" 2 "It said 418."`}},
			{errors.New("the disk \xff is\x00 full"), []string{`ping tea  0 "" 2 "the disk ` + "\uFFFD is\uFFFD full\""}},
			{matrix.NewError(http.StatusConflict, "M_UNKNOWN", "%s", strings.Repeat("ü", 600)), []string{`ping tea  0 "" 2 "` + strings.Repeat("ü", 500) + `"`}},
			// Nothing was begun.
			{matrix.NotFound("There is no application service."), nil},
			{matrix.InvalidParam("That is no reason."), nil},
		} {
			s.err = c.err
			before := len(lines(t, l, ""))
			if _, err := l.Ping(ctx, root, "tea"); !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
			got := lines(t, l, "")
			if got = got[:len(got)-before]; !slices.Equal(got, c.want) {
				t.Errorf("%v: on record is %q, want %q", c.err, got, c.want)
			}
		}
		s.err = nil
		before, did := len(lines(t, l, "")), len(s.did)
		if err := l.Replay(ctx, root, 8); matrix.Code(err) != "M_NOT_FOUND" || len(s.did) != did || len(lines(t, l, "")) != before {
			t.Errorf("a letter that is not there: %v", err)
		}
		if _, err := l.Deeds(ctx, "\x00", 0, 1); matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("a service that cannot be: %v", err)
		}
		// Who goes away in the middle is on record all the same.
		gone, leave := context.WithCancel(ctx)
		s.during = leave
		if err := l.Pause(gone, root, "tea", ""); err != nil {
			t.Error(err)
		}
		if got := lines(t, l, ""); got[0] != `pause tea  0 "" 1 ""` {
			t.Errorf("on record is %s", got[0])
		}
		// And what cannot be put on record is not done.
		did = len(s.did)
		if err := l.Pause(gone, root, "tea", ""); !errors.Is(err, context.Canceled) || len(s.did) != did {
			t.Errorf("%v; done was %q", err, s.did)
		}
	})
}

// What takes something away is done for a reason, which is kept whole.
func TestWhatTakesAwayNeedsAReason(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, now := &stub{}, time.UnixMilli(86_400_000)
		l, ctx := open(t, url, s, &now), t.Context()
		for reason, code := range map[string]string{"": "M_MISSING_PARAM", " \t": "M_MISSING_PARAM", "a\x00b": "M_INVALID_PARAM", strings.Repeat("x", 1001): "M_INVALID_PARAM"} {
			_, removed := l.Remove(ctx, root, "tea", reason)
			_, skipped := l.SkipAll(ctx, root, "tea", reason)
			_, forgotten := l.Forget(ctx, root, "tea", reason)
			for what, err := range map[string]error{
				"remove": removed, "skip all": skipped, "forget": forgotten, "skip": l.Skip(ctx, root, "tea", "e-3", reason), "discard": l.Discard(ctx, root, 7, reason),
			} {
				if matrix.Code(err) != code {
					t.Errorf("%s for %.10q: %v, want %s", what, reason, err, code)
				}
			}
		}
		if len(s.did) > 0 || len(lines(t, l, "")) > 0 {
			t.Errorf("done was %q, on record is %q", s.did, lines(t, l, ""))
		}
	})
}

func TestTheRecordIsBounded(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, now := &stub{}, time.UnixMilli(86_400_000)
		l, ctx := open(t, url, s, &now), t.Context()
		if err := l.Pause(ctx, root, "old", ""); err != nil {
			t.Fatal(err)
		}
		now = now.Add(ledger.Span - time.Second)
		if err := errors.Join(l.Pause(ctx, root, "new", ""), l.Tidy(ctx)); err != nil || len(lines(t, l, "")) != 2 {
			t.Errorf("%v, %q", err, lines(t, l, ""))
		}
		now = now.Add(time.Second)
		if err := l.Tidy(ctx); err != nil || len(lines(t, l, "old")) != 0 || len(lines(t, l, "new")) != 1 {
			t.Errorf("%v, %q", err, lines(t, l, ""))
		}
	})
}
