package irc

import (
	"fmt"
	"testing"
	"time"
)

// Who wants a channel waits for a connection that may come at any moment, and not for
// one that is tried again in an hour; nobody is kept in mind for that long either.
func TestNobodyWaitsForANetworkThatIsAway(t *testing.T) {
	answers := func(b *bot, then func()) string {
		var told []bool
		b.whenUp(func(up bool) { told = append(told, up) })
		then()
		return fmt.Sprint(told, len(b.waiting))
	}
	nothing := func() {}
	for _, c := range []struct {
		name string
		bot  *bot
		then func(b *bot)
		want string
	}{
		{"connected", &bot{online: true, next: time.Now().Add(-time.Hour)}, nil, "[true] 0"},
		{"on its way", &bot{}, nil, "[] 1"},
		{"soon", &bot{next: time.Now().Add(time.Second)}, nil, "[] 1"},
		{"soon, and then up", &bot{next: time.Now().Add(time.Second)}, func(b *bot) { b.tell(true) }, "[true] 0"},
		{"soon, and then not for long", &bot{}, func(b *bot) { b.tell(false) }, "[false] 0"},
		{"not for long", &bot{next: time.Now().Add(time.Hour)}, nil, "[false] 0"},
	} {
		then := nothing
		if c.then != nil {
			then = func() { c.then(c.bot) }
		}
		if got := answers(c.bot, then); got != c.want {
			t.Errorf("%s: told %s, want %s", c.name, got, c.want)
		}
	}
}
