package irc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectSources = database.SQL(`
		SELECT address, user_id
		FROM irc_sources
		ORDER BY address
		LIMIT 10000000`)
	insertSource = database.SQL(`
		INSERT INTO irc_sources (address, user_id)
		VALUES ($1, $2)`)
)

// sourceTries is how many addresses are tried for one user: more than that are taken only
// where the prefix is as good as full.
const sourceTries = 256

var errNoSource = errors.New("no address of the prefix is free")

// sources gives each Matrix user an IPv6 address, for ever: what a network's staff knows about an
// address is true of one person only.
type sources struct {
	db *database.DB

	mu    sync.Mutex
	users map[netip.Addr]matrix.UserID
	given map[matrix.UserID][]netip.Addr // as they were read
}

func loadSources(ctx context.Context, db *database.DB) (*sources, error) {
	s := &sources{db: db, users: map[netip.Addr]matrix.UserID{}, given: map[matrix.UserID][]netip.Addr{}}
	rows, err := db.Read().Query(ctx, selectSources)
	if err != nil {
		return nil, fmt.Errorf("read the addresses of users: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var user matrix.UserID
		if err := rows.Scan(&text, &user); err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("the addresses of users: %w", err)
		}
		s.users[addr] = user
		s.given[user] = append(s.given[user], addr)
	}
	return s, rows.Err()
}

// of is a user's address in a prefix. It follows from the two, as long as nobody else has
// it, and is stored before it is used.
func (s *sources) of(ctx context.Context, prefix netip.Prefix, user matrix.UserID) (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr, ok := s.held(prefix, user); ok {
		return addr, nil
	}
	var free netip.Addr
	for i := range uint32(sourceTries) {
		addr := candidate(prefix, user, i)
		owner, taken := s.users[addr]
		if taken && owner == user {
			return addr, nil
		}
		// What follows may still be the user's: one that was taken then cannot be free now.
		if !taken && !free.IsValid() && usable(prefix, addr) {
			free = addr
			break
		}
	}
	if !free.IsValid() {
		return free, errNoSource
	}
	err := s.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, insertSource, free.String(), user)
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoSource, err)
	}
	s.users[free] = user
	return free, nil
}

// held is an address in a prefix that another bridge has given to a user.
func (s *sources) held(prefix netip.Prefix, user matrix.UserID) (netip.Addr, bool) {
	for _, addr := range s.given[user] {
		if prefix.Contains(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// candidate is the i-th address that a user may have: the prefix, and bits of a hash.
func candidate(prefix netip.Prefix, user matrix.UserID, i uint32) netip.Addr {
	text := binary.BigEndian.AppendUint32([]byte(prefix.Masked().String()+"\x00"+string(user)+"\x00"), i)
	sum := sha256.Sum256(text)
	addr := prefix.Masked().Addr().As16()
	for bit := prefix.Bits(); bit < 128; bit++ {
		addr[bit/8] |= sum[bit/8] & (0x80 >> (bit % 8))
	}
	return netip.AddrFrom16(addr)
}

// usable leaves out the first address of a prefix, which means its routers (RFC 4291 § 2.6.1).
func usable(prefix netip.Prefix, addr netip.Addr) bool {
	return prefix.Bits() >= 127 || addr != prefix.Masked().Addr()
}
