package irc

import (
	"errors"
	"slices"
	"time"

	"trestle/internal/matrix"
)

// What of one person may wait while there is a connection, where it waits for long: beyond, somebody says more than IRC
// takes, and the room, in which others speak, and kick, does not wait for that.
const (
	maxBacklog = 500
	maxRelayed = 100 // where the bot speaks for several
)

var (
	errTooMuch = errors.New("much more waits to be said for you than IRC takes, and until less does, nothing more is taken")
	errStill   = errors.New("of which the person was told already") // not said again
	errRemoved = errors.New("the person was removed from the room") // so is this
)

// silent tells whether somebody need not be told why a message was not said.
func silent(err error) bool { return errors.Is(err, errStill) || errors.Is(err, errRemoved) }

// refuses tells whether there is too much already of who says something, and, of who is heard again, how many messages were
// refused meanwhile. patience is how long what somebody says may wait before more is refused.
func (s *speech) refuses(u *utterance, patience time.Duration) (missed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := maxBacklog
	if s.puppet == nil {
		most = maxRelayed
	}
	if u.event == "" {
		return 0, nil
	}
	waiting := 0
	if len(s.queue) >= most/2 {
		for _, other := range s.queue {
			if other.event != "" && other.sender == u.sender {
				waiting++
			}
		}
	}
	missed = s.swamped[u.sender]
	switch {
	case waiting < most/2:
		delete(s.swamped, u.sender)
		return missed, nil
	case s.conn == nil, u.seq <= s.upSeq: // it has come while there was no connection: that is said, however long it takes
		return 0, nil
	case missed == 0 && (waiting < most || time.Since(s.queue[0].added) < patience):
		return 0, nil
	}
	if s.swamped == nil {
		s.swamped = map[matrix.UserID]int{}
	}
	s.swamped[u.sender]++
	if missed > 0 {
		return 0, errStill
	}
	return 0, errTooMuch
}

// lately is how fast it is forgotten that a room has waited: a tenth of the time.
const lately = 10

// roomWait is how long a room's next event waits for what is being said. Who speaks all the time, and is held back, is not waited for again
// and again.
func (s *speech) roomWait(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = max(s.held-now.Sub(s.heldAt)/lately, 0)
	s.heldAt = now
	return min(roomPatience, max(2*roomPatience-s.held, 0))
}

// roomWaited notes how long that was.
func (s *speech) roomWaited(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = min(s.held+d, 3*roomPatience)
}

// silence takes back what somebody, who was removed from a room, still has to say in the channel. What is under way is said to the end of
// its line. It is called on the loop.
func (s *speech) silence(channel string, user matrix.UserID) {
	s.mu.Lock()
	var dropped []*utterance
	for i, u := range s.queue {
		if u.channel != channel || u.event == "" || u.sender != user || u.direct {
			continue
		}
		if u.dropped = true; i > 0 { // the first is being said
			dropped = append(dropped, u)
		}
	}
	s.queue = slices.DeleteFunc(slices.Clone(s.queue), func(u *utterance) bool { return slices.Contains(dropped, u) })
	s.change()
	s.mu.Unlock()
	for _, u := range dropped {
		s.net.goRun(func() { u.finish(errRemoved) })
	}
}

// silence has nobody say in a channel what somebody has said who was removed from its room. It is called on the loop.
func (n *network) silence(channel string, user matrix.UserID) {
	if p := n.puppets[user]; p != nil {
		p.speech.silence(channel, user)
	}
	if n.relayMode(channel) != RelayOff {
		n.relay.voice(channel).silence(channel, user)
	}
}
