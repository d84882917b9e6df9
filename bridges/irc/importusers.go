package irc

import (
	"errors"
	"net/netip"
	"strings"

	"trestle/bridges/irc/predecessor"
	"trestle/internal/matrix"
)

// ghosts finds the virtual users among those that the other bridge has met. Where it has made several
// of one nick, in different letters, one goes on: with whom somebody speaks alone, or the one whose ID we
// would make, or the first.
func (m *move) ghosts() {
	met := map[matrix.UserID]bool{}
	for _, user := range m.Store.Ghosts {
		met[user] = true
	}
	done := map[matrix.UserID]bool{}
	for _, d := range m.Store.Directs {
		m.ghost(d.Ghost, done, nil)
	}
	for _, user := range m.Store.Ghosts {
		m.ghost(user, done, met)
	}
	for _, n := range m.Config.Networks {
		m.kept = append(m.kept, keptGhost{network: n.ID}) // that there was another bridge
	}
}

// ghost takes one over, if it is one. Its ID is kept unless the one that we would make is among others.
func (m *move) ghost(user matrix.UserID, done, others map[matrix.UserID]bool) {
	if done[user] || user.Localpart() == m.Bot {
		return
	}
	done[user] = true
	for _, n := range m.Config.Networks {
		nick, ok := n.Nick(user, m.Config.ServerName)
		if !ok {
			continue
		}
		m.in.Ghosts = append(m.in.Ghosts, user)
		t := m.names[n.ID]
		folded := t.fold(nick)
		ours := matrix.NewUserID(t.written(folded), m.Config.ServerName)
		if _, taken := t.kept.localpart(folded); !taken && ours != user && !others[ours] {
			t.kept.add(nick, user.Localpart())
			m.kept = append(m.kept, keptGhost{n.ID, user, nick})
		}
		return
	}
}

// clients takes over what users have said about themselves, unless they have told us already.
func (m *move) clients() error {
	locked, said := 0, map[whose]bool{}
	for _, client := range m.Store.Clients {
		if n := m.Config.Network(client.Domain); n != nil {
			said[whose{n.ID, client.User}] = true
		}
	}
	for _, client := range m.Store.Clients {
		n, exact := m.Config.Whose(client.Domain)
		if n != nil && !exact && said[whose{n.ID, client.User}] {
			continue // what was said since counts
		}
		if n == nil {
			m.leave("client_config: %s: there is no network %q in the configuration", client.User, client.Domain)
			continue
		}
		who := whose{n.ID, client.User}
		if addr, err := netip.ParseAddr(client.IPv6); err == nil {
			m.address(addr, client.User)
		}
		if !m.known.of(who).empty() {
			continue
		}
		var err error
		one := account{username: strings.TrimSpace(client.Username), nick: client.Nick}
		switch {
		case client.Sealed == "":
		case m.Passkey == nil:
			locked++
		default:
			password, refused := m.Passkey.Open(client.Sealed)
			if m.Store.Version < predecessor.WholePasswords {
				password, _, _ = strings.Cut(password, " ")
			}
			if refused == nil && password == "" {
				refused = errors.New("it is empty")
			}
			if refused != nil {
				m.leave("client_config: the password of %s on %s: %s", client.User, n.ID, refused)
				break
			}
			if one.password, err = m.known.seal(who, "password", []byte(password)); err != nil {
				return err
			}
		}
		if client.SealedKey != "" {
			if one.certificate, err = m.certificate(who, client); err != nil {
				return err
			}
			one.external = one.certificate != nil && n.SASL && n.Settings.TLS
		}
		if !one.empty() {
			m.accounts[who] = one
		}
	}
	if locked > 0 {
		m.leave("client_config: %d passwords, since there is no passkey", locked)
	}
	return nil
}

// certificate seals the one that a user shows to the network. nil if it cannot be had.
func (m *move) certificate(who whose, client predecessor.Client) ([]byte, error) {
	refused := errors.New("there is no passkey")
	var key string
	if m.Passkey != nil {
		key, refused = m.Passkey.OpenLong(client.SealedKey)
	}
	pair := []byte(strings.TrimSpace(client.Certificate) + "\n" + strings.TrimSpace(key) + "\n")
	if refused == nil {
		_, refused = parseCertificate(pair)
	}
	if refused != nil {
		m.leave("client_config: the certificate of %s on %s: %s", who.user, who.network, refused)
		return nil, nil
	}
	return m.known.seal(who, "certificate", pair)
}

// address gives a user the address that was theirs.
func (m *move) address(addr netip.Addr, user matrix.UserID) {
	owner, taken := m.given.users[addr]
	if !taken {
		owner, taken = m.addresses[addr]
	}
	switch {
	case !taken:
		m.addresses[addr] = user
	case owner != user:
		m.leave("client_config: the address %s of %s is that of %s", addr, user, owner)
	}
}
