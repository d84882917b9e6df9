package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"trestle/registration"
)

const (
	ircPatience = 5 * time.Minute // for anything that a crowd does
	ircChannels = 5               // among which those whom a netsplit takes are divided
	talkers     = 20              // who share 500 messages a second
	// aroundSplit is how many messages are said, one each 10 ms, and splitAt which of them
	// comes right behind the split.
	aroundSplit, splitAt = 800, 200
)

// irc is parts of what is measured of the bundled bridge, with an InspIRCd: people of Matrix in a channel, people of
// IRC in a room.
func (b *run) irc(parts ...func(*ircServer, *link) error) func() error {
	return func() error { return b.bridge(parts) }
}

func (b *run) bridge(parts []func(*ircServer, *link) error) error {
	if b.options.Puppets == 0 {
		return nil
	}
	irc, err := startIRC(b.ctx, filepath.Join(b.server.folder, "irc"))
	if errors.Is(err, errNoIRC) && len(b.options.Only) == 0 {
		b.figure("IRC", "not measured: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer irc.kill()
	near, err := linkIRC(b.ctx, irc, "near.bench", "2NE")
	if err != nil {
		return err
	}
	defer near.close()
	if err := b.bridged(irc); err != nil {
		return err
	}
	for _, do := range parts {
		if err := do(irc, near); err != nil {
			return err
		}
	}
	return nil
}

// bridged starts the server again, with its bridge.
func (b *run) bridged(irc *ircServer) error {
	settings := fmt.Sprintf(`bridges:
  irc:
    networks:
      local: {enabled: false, address: "127.0.0.1:1"}
      bench:
        enabled: true
        address: %s
        max_connections: %d
`, irc.address, b.options.Puppets+len(b.users))
	b.server.config = filepath.Join(b.server.folder, "bridge.yaml")
	if err := os.WriteFile(b.server.config, []byte(settings), 0o600); err != nil {
		return err
	}
	b.server.kill()
	return b.server.start(b.ctx)
}

func alias(channel string) string { return "#irc_bench_" + channel + ":bench" }

// joinAs joins a channel by its alias, as the token's user or one of its service.
func (b *run) joinAs(token, user, channel string) (room string, err error) {
	path := "/_matrix/client/v3/join/" + url.PathEscape(alias(channel))
	if user != "" {
		path += "?user_id=" + url.QueryEscape(user)
	}
	var joined struct {
		RoomID string `json:"room_id"`
	}
	err = b.client.call(b.ctx, http.MethodPost, path, token, map[string]any{}, &joined)
	return joined.RoomID, err
}

// puppets is how long many people take into a channel, and back into it after a restart, and what
// they cost.
func (b *run) puppets(_ *ircServer, near *link) error {
	n := b.options.Puppets
	const channel = "#puppets"
	if _, err := near.populate(channel, "watcher", 1); err != nil {
		return err
	}
	before, err := b.settledCost()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := b.crowdIn(channel, n); err != nil {
		return err
	}
	wanted := n + 2 // the watcher, and the bridge's bot
	there := func() bool { return len(near.in[channel])+1 >= wanted }
	if err := near.until(b.ctx, ircPatience, "puppets", there); err != nil {
		return fmt.Errorf("%d of %d: %w", len(near.in[channel]), wanted, err)
	}
	b.figure(fmt.Sprintf("IRC: %d people join a channel", n), "%.1f s, %d connections lost", time.Since(begin).Seconds(), near.lost())
	b.server.kill()
	if err := near.until(b.ctx, ircPatience, "everybody to be gone", func() bool { return len(near.in[channel]) == 0 }); err != nil {
		return err
	}
	near.forget()
	begin = time.Now()
	if err := b.server.start(b.ctx); err != nil {
		return err
	}
	if err := near.until(b.ctx, ircPatience, "puppets to come back", there); err != nil {
		return fmt.Errorf("%d of %d: %w", len(near.in[channel]), wanted, err)
	}
	b.figure(fmt.Sprintf("IRC: %d people are back after a kill -9", n), "%.1f s, %d connections lost", time.Since(begin).Seconds(), near.lost())
	after, err := b.settledCost()
	if err != nil {
		return err
	}
	b.figure(fmt.Sprintf("IRC: memory of homeserver and bridge with %d people in a channel", n), "%.0f MiB (%.0f without them)",
		float64(after.memory)/(1<<20), float64(before.memory)/(1<<20))
	b.figure("IRC: for each of them", "%.1f KiB, %.2f goroutines", float64(after.memory-before.memory)/1024/float64(n), (after.goroutines-before.goroutines)/float64(n))
	return nil
}

// crowdIn has people join who are users of a service, so that nobody hashes passwords.
func (b *run) crowdIn(channel string, n int) error {
	reg := registration.Generate("load", "", "loadbot")
	space, err := registration.NewNamespace("@load_.*:bench", true)
	if err != nil {
		return err
	}
	reg.Namespaces.Users = []registration.Namespace{space}
	if err := b.change(filepath.Join(b.server.folder, "appservices"), []*registration.Registration{reg}, true); err != nil {
		return err
	}
	failures := make(chan error, n)
	next := make(chan string)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for name := range next {
				err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/register", reg.ASToken, map[string]any{
					"type": "m.login.application_service", "username": name, "inhibit_login": true,
				}, nil)
				if err == nil {
					_, err = b.joinAs(reg.ASToken, "@"+name+":bench", channel)
				}
				if err != nil {
					failures <- err
				}
			}
		})
	}
	for i := range n {
		next <- fmt.Sprint("load_", i)
	}
	close(next)
	all.Wait()
	close(failures)
	return <-failures
}

// A cost is what the server's process holds.
type cost struct {
	memory     int64 // bytes
	goroutines float64
}

// settledCost is what it holds when nothing has happened for a while.
func (b *run) settledCost() (c cost, err error) {
	time.Sleep(b.options.Duration / 2)
	if c.memory, err = b.server.memory(); err != nil {
		return c, err
	}
	c.goroutines, err = b.server.metric("go_goroutines")
	return c, err
}

// talk is the time from a line on IRC to the reader's /sync.
func (b *run) talk(_ *ircServer, near *link) error {
	const channel, rate = "#talk", 500
	ids, err := near.populate(channel, "talker", talkers)
	if err != nil {
		return err
	}
	reader := b.users[1]
	room, err := b.joinAs(reader.token, "", channel)
	if err != nil {
		return err
	}
	if err := b.untilMembers(reader.token, room, talkers); err != nil {
		return err
	}
	if err := near.untilHeard(b.ctx, channel); err != nil {
		return err
	}
	before, err := b.spent()
	if err != nil {
		return err
	}
	n := int(b.options.Duration.Seconds() * rate)
	took, err := b.steadily(reader.token, "irc", rate, n, func(n int, text string) error {
		return near.send(":" + ids[n%len(ids)] + " PRIVMSG " + channel + " :" + text)
	})
	if err != nil {
		return err
	}
	spent, err := b.since(before)
	if err != nil {
		return err
	}
	b.figure("processor time of each line, server and bridge + load generator", "%s", spent.each(int64(n)))
	b.figure("IRC → /sync at 500/s, p50", "%.1f ms", milliseconds(took[len(took)/2]))
	b.figure("IRC → /sync at 500/s, p99", "%.1f ms", milliseconds(took[len(took)*99/100]))
	return nil
}

// split is how fast large channels come into their rooms, and what a message waits for behind all of
// them when a link breaks.
func (b *run) split(irc *ircServer, near *link) error {
	far, err := linkIRC(b.ctx, irc, "far.bench", "3FA")
	if err != nil {
		return err
	}
	defer far.close()
	reader, members := b.users[1], b.options.Quits/ircChannels
	speaker := ""
	for i := range ircChannels {
		channel := fmt.Sprint("#crowd", i)
		if _, err := far.populate(channel, fmt.Sprintf("c%dguest", i), members); err != nil {
			return err
		}
		ids, err := near.populate(channel, fmt.Sprint("near", i), 1)
		if err != nil {
			return err
		}
		begin := time.Now()
		room, err := b.joinAs(reader.token, "", channel)
		if err != nil {
			return err
		}
		if err := b.untilMembers(reader.token, room, members+1); err != nil {
			return err
		}
		if i == 0 {
			if err := near.untilHeard(b.ctx, channel); err != nil {
				return err
			}
			speaker = ids[0]
			b.figure(fmt.Sprintf("IRC: a channel of %d is in its room", members+1), "%.1f s", time.Since(begin).Seconds())
		}
	}
	took, err := b.steadily(reader.token, "split", 100, aroundSplit, func(n int, text string) error {
		if n == splitAt {
			far.close()
		}
		return near.send(":" + speaker + " PRIVMSG #crowd0 :" + text)
	})
	if err != nil {
		return err
	}
	b.figure(fmt.Sprintf("IRC → /sync around a netsplit of %d, slowest", members*ircChannels), "%.0f ms", milliseconds(took[len(took)-1]))
	return nil
}

// untilMembers waits until so many people of IRC are in a room.
func (b *run) untilMembers(token, room string, n int) error {
	for deadline := time.Now().Add(ircPatience); time.Now().Before(deadline); time.Sleep(pulse) {
		var answer struct {
			Joined map[string]struct{} `json:"joined"`
		}
		if err := b.client.call(b.ctx, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/joined_members", token, nil, &answer); err != nil {
			return err
		}
		there := 0
		for user := range answer.Joined {
			if strings.HasPrefix(user, "@irc_bench_") {
				there++
			}
		}
		if there >= n {
			return nil
		}
	}
	return fmt.Errorf("there are not %d people in %s", n, room)
}

// metric is a figure that the server says about itself.
func (s *server) metric(name string) (float64, error) {
	res, err := http.Get(s.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the server does not say %s", name)
}
