package irc

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// Ports are our ends of the connections to a network, by nick.
func (s *Service) Ports(id string) map[string]string {
	ports := map[string]string{}
	n := s.network(id)
	n.ask(context.Background(), func() {
		for _, l := range append(n.puppetLinks(), n.bot.link) {
			if l.conn != nil && !l.closed {
				ports[l.conn.Nick()] = l.conn.LocalAddr().String()
			}
		}
	})
	return ports
}

// Password is what is kept for a user, opened.
func Password(ctx context.Context, url, keyFile, network string, user matrix.UserID) (string, error) {
	return kept(ctx, url, keyFile, whose{network, user}, "password")
}

// Certificate is a user's, and the key to it.
func Certificate(ctx context.Context, url, keyFile, network string, user matrix.UserID) (string, error) {
	return kept(ctx, url, keyFile, whose{network, user}, "certificate")
}

// LogsIn tells whether a user's certificate is what logs in.
func LogsIn(ctx context.Context, url, network string, user matrix.UserID) (external bool, err error) {
	db, err := database.Open(ctx, url, migrations.Bridges, database.Options{})
	if err != nil {
		return false, err
	}
	defer db.Close()
	a, err := loadAccounts(ctx, db, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	return a.of(whose{network, user}).external, nil
}

func kept(ctx context.Context, url, keyFile string, who whose, place string) (string, error) {
	db, err := database.Open(ctx, url, migrations.Bridges, database.Options{})
	if err != nil {
		return "", err
	}
	defer db.Close()
	a, err := loadAccounts(ctx, db, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	sealed := a.of(who).password
	if place == "certificate" {
		sealed = a.of(who).certificate
	}
	secret, err := a.open(who, place, sealed)
	return string(secret), err
}

// Source is the address that a user connects from.
func Source(ctx context.Context, url string, prefix netip.Prefix, user matrix.UserID) (netip.Addr, error) {
	db, err := database.Open(ctx, url, migrations.Bridges, database.Options{})
	if err != nil {
		return netip.Addr{}, err
	}
	defer db.Close()
	s, err := loadSources(ctx, db)
	if err != nil {
		return netip.Addr{}, err
	}
	return s.of(ctx, prefix, user)
}

// LastUse is when a user's connection was of use to them.
func (s *Service) LastUse(network string, user matrix.UserID) (at time.Time) {
	n := s.network(network)
	n.ask(s.ctx, func() { at = n.puppets[user].speech.lastUse(n.puppets[user].since) })
	return at
}

// Forget has a network forget those who are idle, as if it was later, and tells how many users it knows then.
func (s *Service) Forget(network string, later time.Duration) (left int) {
	n := s.network(network)
	n.ask(s.ctx, func() {
		n.forgetIdle(time.Now().Add(later))
		left = len(n.puppets)
	})
	return left
}

// RoundsOfRules is how often rules were applied.
func (s *Service) RoundsOfRules(network string) (rounds int) {
	n := s.network(network)
	n.ask(s.ctx, func() { rounds = n.policies.rounds })
	return rounds
}

// SplitsEnd gives up those whom netsplits took, as if that had lasted.
func (s *Service) SplitsEnd(network string) {
	n := s.network(network)
	n.ask(s.ctx, func() {
		for key, lost := range n.missing {
			n.giveUp(key, lost)
		}
	})
}

// ExternalURL is externalURL.
var ExternalURL = externalURL
