package irc

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// maxRooms bounds what one answer lists.
const maxRooms = 100_000

// A RoomStatus is one portal's.
type RoomStatus struct {
	Network string           `json:"network"`
	Channel string           `json:"channel"` // as people spell it; of a direct chat, the nick
	Room    matrix.RoomID    `json:"room"`    // empty: the bridge only listens
	Alias   matrix.RoomAlias `json:"alias"`   // empty: a direct chat
	Direct  bool             `json:"direct"`
	Joined  bool             `json:"joined"` // the bot is in the channel
	People  int              `json:"people"` // of Matrix
	Ghosts  int              `json:"ghosts"`
	Held    int              `json:"held"` // that wait for people who are not in the channel
	Queued  int              `json:"queued_to_matrix"`
}

// rooms lists all portals, by network and channel.
func (s *Service) rooms(ctx context.Context) []RoomStatus {
	list := []RoomStatus{}
	for _, p := range s.bridge.Portals() {
		one := RoomStatus{
			Network: p.Key().Network, Channel: decode(p.Name()), Room: p.Room(), Direct: p.Direct(),
			People: len(p.People()), Ghosts: len(p.Ghosts()), Held: p.Held(), Queued: p.Queued(),
		}
		if n := s.network(one.Network); n != nil && !one.Direct {
			one.Joined, one.Alias = n.watches(p.Key().Channel), n.aliasOf(p.Name())
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b RoomStatus) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), strings.Compare(a.Channel, b.Channel), strings.Compare(string(a.Room), string(b.Room)))
	})
	return list[:min(len(list), maxRooms)]
}

// StatusWithLag is Status, and asks the servers how far behind they are.
func (s *Service) StatusWithLag(ctx context.Context) Status {
	status := s.Status(ctx)
	var asked sync.WaitGroup
	for i := range status.Networks {
		one := &status.Networks[i]
		n := s.network(one.ID)
		if n == nil || !one.Connected {
			continue
		}
		asked.Go(func() { one.Lag = n.lag(ctx) })
	}
	asked.Wait()
	return status
}

// lag is how long the bot's server takes to answer, in ms; -1 if it doesn't.
func (n *network) lag(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	var conn *wire.Conn
	n.ask(ctx, func() {
		if n.bot.online {
			conn = n.bot.link.conn
		}
	})
	began := time.Now()
	if conn == nil || conn.Barrier(ctx) != nil {
		return -1
	}
	return time.Since(began).Milliseconds()
}

// commanded are the networks that a command is about.
func (s *Service) commanded(id string) ([]*network, error) {
	if id == "" {
		return s.all(), nil
	}
	n := s.network(id)
	if n == nil {
		return nil, matrix.NotFound("There is no network %q.", id)
	}
	return []*network{n}, nil
}

// Connections is how many a command was about.
type Connections struct {
	Connections int `json:"connections"`
}

// controlReconnect drops the connections of a network, or one user's, and makes new ones.
func (s *Service) controlReconnect(ctx context.Context, c CommandBody) (any, error) {
	about, err := s.commanded(c.Network)
	if err != nil {
		return nil, err
	}
	result := Connections{}
	for _, n := range about {
		if c.User == "" {
			result.Connections += n.reconnectAll(ctx)
			continue
		}
		known := false
		n.ask(ctx, func() { known = n.puppets[c.User] != nil })
		if known {
			n.reconnect(ctx, c.User)
			result.Connections++
		}
	}
	if c.User != "" && result.Connections == 0 {
		return nil, matrix.NotFound("%s has no connection.", c.User)
	}
	return result, nil
}

// reconnectAll drops all connections of a network and makes new ones, at the usual pace.
func (n *network) reconnectAll(ctx context.Context) (dropped int) {
	n.ask(ctx, func() {
		for _, p := range n.puppets {
			if p.link != nil && p.link.conn != nil {
				p.again = true
				p.link.quit("Reconnecting")
				dropped++
			}
		}
		n.impatient()
		if conn := n.bot.link.conn; conn != nil && !n.bot.link.closed {
			n.bot.failures = 0
			n.goRun(func() { quit(conn, "Reconnecting") })
			dropped++
		} else {
			n.bot.connectNow()
		}
	})
	return dropped
}

// controlKick takes a Matrix user off IRC and out of the rooms of its channels. They may come back.
func (s *Service) controlKick(ctx context.Context, c CommandBody) (any, error) {
	about, err := s.commanded(c.Network)
	if err != nil {
		return nil, err
	}
	if c.User == "" {
		return nil, matrix.MissingParam("Say who.")
	}
	reason := cmp.Or(oneLine(c.Reason), "Removed by an operator of the bridge")
	result := Connections{}
	for _, n := range about {
		n.ask(ctx, func() {
			p := n.puppets[c.User]
			if p == nil || p.link == nil && len(p.wanted) == 0 {
				return
			}
			result.Connections++
			for channel := range p.wanted {
				p.expelled(channel, reason)
			}
			if p.link != nil {
				p.link.quit(reason)
			}
		})
	}
	if result.Connections == 0 {
		return nil, matrix.NotFound("%s is not on IRC.", c.User)
	}
	return result, nil
}
