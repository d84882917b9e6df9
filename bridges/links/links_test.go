package links_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trestle/bridges/links"
	"trestle/internal/matrix"
)

var now = time.Unix(1_800_000_000, 0)

func TestLinks(t *testing.T) {
	signer := links.NewSigner([]byte("a key"))
	for _, event := range []matrix.EventID{"$HvzbSB7fs6fLK0dZvVQx0dS7ObQ6bSDkDXTmsUGG9-Q", "$e17", "$143273582443PhrSn:example.org", "$ж/+"} {
		want := links.Link{Kind: 'm', Portal: 12345, Event: event, Index: 3, Expires: now.Add(time.Hour)}
		id := signer.ID(want)
		got, err := signer.Parse(id, now)
		if err != nil || got.Kind != 'm' || got.Portal != 12345 || got.Event != event || got.Index != 3 ||
			got.Expires.Sub(want.Expires).Abs() > time.Minute {
			t.Errorf("%s came back as %+v, %v", event, got, err)
		}
		if len(id) > 120 {
			t.Errorf("%s takes %d characters", event, len(id))
		}
		if _, err := signer.Parse(id, now.Add(2*time.Hour)); !errors.Is(err, links.ErrExpired) {
			t.Errorf("two hours later: %v", err)
		}
		if _, err := links.NewSigner([]byte("another")).Parse(id, now); !errors.Is(err, links.ErrForged) {
			t.Errorf("with another key: %v", err)
		}
		for i := range id {
			other := byte('A')
			if id[i] == other {
				other = 'B'
			}
			if _, err := signer.Parse(id[:i]+string(other)+id[i+1:], now); !errors.Is(err, links.ErrForged) {
				t.Errorf("with character %d changed: %v", i, err)
			}
		}
	}
	for _, id := range []string{"", "A", strings.Repeat("A", 22), strings.Repeat("A", 5000), "ä", "AAAA AAAA\n"} {
		if _, err := signer.Parse(id, now); !errors.Is(err, links.ErrForged) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	signer := links.NewSigner([]byte("a key"))
	f.Add(signer.ID(links.Link{Kind: 't', Portal: 1, Event: "$e", Expires: now.Add(time.Hour)}))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, id string) {
		l, err := signer.Parse(id, now)
		if err == nil && signer.ID(l) != id {
			t.Fatalf("%q is %+v, whose ID is %q", id, l, signer.ID(l))
		}
	})
}

// What is signed may have come from anywhere: the rest must hold for any event ID.
func FuzzEvents(f *testing.F) {
	signer := links.NewSigner([]byte("a key"))
	f.Add("$e", int64(1), 0)
	f.Add("$HvzbSB7fs6fLK0dZvVQx0dS7ObQ6bSDkDXTmsUGG9-Q", int64(1<<40), 7)
	f.Add(strings.Repeat("0", 43), int64(1), 0) // a hash but for what it begins with
	f.Fuzz(func(t *testing.T, event string, portal int64, index int) {
		if len(event) == 0 || len(event) > 255 || portal < 0 || index < 0 || portal > 1<<62 || index > 1<<62 {
			return
		}
		want := links.Link{Kind: 'm', Portal: portal, Event: matrix.EventID(event), Index: index, Expires: now.Add(time.Hour)}
		got, err := signer.Parse(signer.ID(want), now)
		if err != nil || got.Event != want.Event || got.Portal != portal || got.Index != index {
			t.Fatalf("%+v came back as %+v, %v", want, got, err)
		}
	})
}
