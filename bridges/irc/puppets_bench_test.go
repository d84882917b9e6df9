package irc_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// BenchmarkPuppets brings a thousand people into a channel of a server with flood protection, by the
// pace that is the default.
func BenchmarkPuppets(b *testing.B) {
	const people = 1000
	for b.Loop() {
		h, server := fakehomeserver.New(b), testkit.Inspircd(b, testkit.IRCOptions{Throttled: true})
		bob := testkit.DialIRC(b, server.Addr, "bob")
		bob.Join("#trestle")
		c := config(h, server.Addr, b.TempDir())
		c.Networks[0].Flood, c.Networks[0].Connects, c.Networks[0].MaxConnections = nil, nil, people
		service, stop := start(b, h, c)
		room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
		if refusal != "" {
			b.Fatal(refusal)
		}
		before, began := memory(), time.Now()
		for i := 1; i < people; i++ {
			user := fmt.Sprintf("@user%d:localhost", i)
			h.Register(user, "")
			h.Member(room, user, user, "join", "")
		}
		for range people {
			bob.ExpectFunc("people joining", func(line string) bool {
				return strings.Contains(line, " JOIN ") && !strings.HasPrefix(line, ":trestle!")
			})
		}
		took := time.Since(began)
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(memory()-before)/people/1024, "KB/puppet")
		kicked := h.Events(room, func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.member" && e.Membership() == "leave" || strings.Contains(e.Body(), "connection")
		})
		if there := service.Status(b.Context()).Networks[0].Puppets; len(kicked) > 0 || there != people {
			b.Errorf("%d of %d are there, %d events: %v", there, people, len(kicked), kicked[:min(len(kicked), 3)])
		}
		stop()
	}
}

func memory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
