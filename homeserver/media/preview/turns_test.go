package preview

import (
	"context"
	"errors"
	"testing"

	"trestle/internal/matrix"
)

func TestTurns(t *testing.T) {
	const alice, bob = matrix.UserID("@alice:hs.example"), matrix.UserID("@bob:hs.example")
	turns := newTurns(2)
	take := func(user matrix.UserID) func() {
		t.Helper()
		done, err := turns.take(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	one, two := take(alice), take(alice)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := turns.take(gone, alice); !errors.Is(err, context.Canceled) {
		t.Errorf("a third: %v", err)
	}
	other := take(bob)
	waits := make(chan func())
	go func() {
		done, err := turns.take(t.Context(), alice)
		if err != nil {
			t.Error(err)
		}
		waits <- done
	}()
	one()
	three := <-waits
	for _, done := range []func(){two, three, other} {
		done()
	}
	if len(turns.users) != 0 {
		t.Errorf("%d users are remembered", len(turns.users))
	}
}
