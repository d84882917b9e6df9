package irc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// commandActive has a user's connections count as if something had been said on them.
func (s *Service) commandActive(ctx context.Context, call *bridge.Call) (string, error) {
	of := s.all()
	if len(call.Args) > 0 {
		n := s.networkAt(call.Args[0])
		if n == nil {
			return "", matrix.NotFound("There is no network %.40q.", call.Args[0])
		}
		of = []*network{n}
	}
	var there []string
	for _, n := range of {
		n.ask(ctx, func() {
			if p := n.puppets[call.Sender]; p != nil && p.link != nil {
				p.speech.touch()
				there = append(there, n.now().Name)
			}
		})
	}
	if len(there) == 0 {
		return "", matrix.NotFound("You have no connection that could be kept.")
	}
	return fmt.Sprintf("Your connection to %s counts as used now.", strings.Join(there, ", ")), nil
}

// touch notes that the connection is of use to somebody.
func (s *speech) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
}
