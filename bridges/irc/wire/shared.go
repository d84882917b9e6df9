package wire

import (
	"maps"
	"reflect"
	"sync"
)

// Shared has what a network says to each connection alike once for all of them: it is most of what an idle
// one would hold.
type Shared struct {
	mu            sync.Mutex
	support       *Support
	caps, offered map[string]string
}

// settle puts what others know already in place of what the connection has learnt, as far as they are equal.
// It is called when a connection is registered, on its reading goroutine.
func (s *Shared) settle(c *Conn) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if mine := c.support.Load(); reflect.DeepEqual(s.support, mine) {
		c.support.Store(s.support)
	} else {
		s.support = mine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if maps.Equal(s.caps, c.caps) && maps.Equal(s.offered, c.offered) {
		c.caps, c.offered = s.caps, s.offered
	} else {
		s.caps, s.offered = c.caps, c.offered
	}
	c.lent = true
}

// ownCaps is called, with mu held, before capabilities change.
func (c *Conn) ownCaps() {
	if c.lent {
		c.caps, c.offered, c.lent = maps.Clone(c.caps), maps.Clone(c.offered), false
	}
}
