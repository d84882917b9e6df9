package irc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/names"
	"trestle/bridges/irc/predecessor"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// An Import moves what matrix-appservice-irc has left into the bridge's own database.
type Import struct {
	Database string // the bridge's own, which no bridge may be using
	KeyFile  string // keys to the secrets of users, made if there are none
	Config   *predecessor.Config
	Store    *predecessor.Store
	Passkey  *predecessor.Passkey // nil: passwords are left behind
	Bot      string               // the local part of the bridge's own user
	DryRun   bool                 // nothing is kept of what is done
	Logger   *slog.Logger
}

// Imported is what has become, or would become, of it.
type Imported struct {
	Portals    int // channels whose rooms go on
	Plumbed    int // of these, rooms of others
	Directs    int // direct chats
	Ghosts     int // virtual users
	Kept       int // of these, those whose IDs are not what the templates would give
	Accounts   int // users who have a nick or an account of their own
	Passwords  int // of these, those with a password
	Addresses  int // IPv6
	Management int // rooms in which users talk to the bridge
	Mentions   int // users who have said whether their nicks mention them
	There      int // rooms that were moved before

	Left []string // what could not be moved, and why
}

// errDry takes back what a dry run has done.
var errDry = errors.New("a dry run")

// Run moves everything, or nothing if it returns an error. Repeated, it moves what is new.
func (i Import) Run(ctx context.Context) (Imported, error) {
	db, err := database.Open(ctx, i.Database, migrations.Bridges, database.Options{Log: i.Logger})
	if err != nil {
		return Imported{}, fmt.Errorf("the bridge's database: %w", err)
	}
	defer db.Close()
	if err := db.LockServer(ctx); err != nil {
		return Imported{}, fmt.Errorf("the bridge's database: %w", err)
	}
	accounts, err := loadAccounts(ctx, db, i.KeyFile, i.Logger)
	if err != nil {
		return Imported{}, err
	}
	sources, err := loadSources(ctx, db)
	if err != nil {
		return Imported{}, err
	}
	kept, err := loadKept(ctx, db)
	if err != nil {
		return Imported{}, err
	}
	m, err := newMove(i, accounts, sources, kept)
	if err != nil {
		return Imported{}, err
	}
	ids := db.NewIDs("bridge")
	var result Imported
	err = db.Update(ctx, func(tx *database.Tx) error {
		var err error
		if result, err = m.run(ctx, tx, ids); err == nil && i.DryRun {
			err = errDry
		}
		return err
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return result, err
}

// A move is an import that has been prepared: what goes where, without the database.
type move struct {
	Import
	known *accounts
	given *sources
	names map[string]*templates // by network

	done Imported
	in   bridge.Inheritance
	kept []keptGhost
	moved
}

// moved are rows that are the IRC bridge's.
type moved struct {
	accounts  map[whose]account
	addresses map[netip.Addr]matrix.UserID
	plumbs    map[bridge.Key]plumb
}

type keptGhost struct {
	network string
	user    matrix.UserID
	nick    string
}

func newMove(i Import, known *accounts, given *sources, kept map[string]*keptNames) (*move, error) {
	m := &move{
		Import: i, known: known, given: given, names: map[string]*templates{},
		in:    bridge.Inheritance{Management: map[matrix.RoomID]matrix.UserID{}},
		moved: moved{map[whose]account{}, map[netip.Addr]matrix.UserID{}, map[bridge.Key]plumb{}},
	}
	for _, n := range i.Config.Networks {
		t, err := newTemplates(&Network{ID: n.ID, Alias: n.Settings.Alias, User: n.Settings.User})
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", n.ID, err)
		}
		t.fold, t.bot = names.RFC1459.Fold, i.Bot
		t.kept = kept[n.ID]
		if t.kept == nil {
			t.kept = &keptNames{map[string]string{}}
		}
		m.names[n.ID] = t
	}
	for _, row := range i.Store.Skipped {
		m.leave("%s", row)
	}
	m.ghosts()
	m.channels()
	m.directs()
	for _, admin := range i.Store.Admins {
		m.in.Management[admin.Room] = admin.User
	}
	if err := m.clients(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *move) leave(format string, args ...any) {
	m.done.Left = append(m.done.Left, fmt.Sprintf(format, args...))
}

func (m *move) run(ctx context.Context, tx *database.Tx, ids *database.IDs) (Imported, error) {
	result := m.done
	result.Left = slices.Clone(m.done.Left)
	inherited, err := bridge.Inherit(ctx, tx, ids, m.in)
	if err != nil {
		return result, err
	}
	for _, p := range inherited.Taken {
		if _, _, alone := direct(p.Key); alone {
			result.Directs++
		} else {
			result.Portals++
		}
		if one, ok := m.plumbs[p.Key]; ok && one.Room == p.Room {
			result.Plumbed++
			if err := one.store(ctx, tx); err != nil {
				return result, err
			}
		}
	}
	result.There, result.Management, result.Ghosts, result.Kept = inherited.There, len(m.in.Management), len(m.in.Ghosts), len(m.kept)-len(m.Config.Networks)
	for _, room := range slices.Sorted(maps.Keys(inherited.Refused)) {
		result.Left = append(result.Left, fmt.Sprintf("rooms: %s is no longer bridged: %s", room, inherited.Refused[room]))
	}
	for _, ghost := range m.kept {
		if err := tx.Queue(ctx, insertKept, ghost.network, ghost.user, ghost.nick); err != nil {
			return result, err
		}
	}
	for who, one := range m.accounts {
		result.Accounts++
		if one.password != nil {
			result.Passwords++
		}
		err := tx.Queue(ctx, upsertAccount, who.network, who.user, one.username, one.nick, one.password, one.certificate, one.external)
		if err != nil {
			return result, err
		}
	}
	for user, wanted := range m.Store.Mentions {
		result.Mentions++
		if err := tx.Queue(ctx, insertChoice, "", user, featureMentions.name, wanted); err != nil {
			return result, err
		}
	}
	for addr, user := range m.addresses {
		result.Addresses++
		if err := tx.Queue(ctx, insertSource, addr.String(), user); err != nil {
			return result, err
		}
	}
	return result, nil
}

// origins are where rooms come from, the one that counts most first. What comes from the
// configuration is in ours.
var origins = []string{"alias", "join", "provision"}

// channels gives each channel one of its rooms.
func (m *move) channels() {
	rooms := slices.Clone(m.Store.Rooms)
	rank := func(r predecessor.Room) int {
		at := slices.Index(origins, r.Origin)
		if at < 0 {
			at = len(origins)
		}
		return at
	}
	slices.SortStableFunc(rooms, func(a, b predecessor.Room) int { return rank(a) - rank(b) })
	chosen, used := map[bridge.Key]matrix.RoomID{}, map[matrix.RoomID]string{}
	for _, n := range m.Config.Networks {
		for _, mapping := range n.Settings.Mappings {
			if mapping.Room != "" {
				m.channel(n, predecessor.Room{Channel: mapping.Channel, Room: matrix.RoomID(mapping.Room)}, chosen, used)
			}
		}
	}
	for _, r := range rooms {
		n := m.Config.Network(r.Domain)
		switch {
		case n == nil:
			m.leave("rooms: %s, %s: there is no network %q in the configuration", r.Room, decode(r.Channel), r.Domain)
		case r.Origin != "config": // those are mappings
			m.channel(n, r, chosen, used)
		}
	}
}

func (m *move) channel(n *predecessor.Network, r predecessor.Room, chosen map[bridge.Key]matrix.RoomID, used map[matrix.RoomID]string) {
	t, name, room := m.names[n.ID], r.Channel, r.Room
	key := bridge.Key{Network: n.ID, Channel: t.fold(name)}
	other, taken := chosen[key]
	switch {
	case other == room && taken:
		return
	case taken:
		m.leave("rooms: %s is no longer bridged: %s on %s has the room %s, and a channel has one", room, decode(name), n.ID, other)
		return
	case used[room] != "":
		m.leave("rooms: %s on %s loses its room %s, which is that of %s", decode(name), n.ID, room, used[room])
		return
	}
	chosen[key], used[room] = room, name
	if r.Origin == "provision" {
		m.plumbs[key] = lodged(key, name, room)
		m.in.Portals = append(m.in.Portals, bridge.InheritedPortal{Key: key, Name: name, Room: room})
		return
	}
	m.in.Portals = append(m.in.Portals, bridge.InheritedPortal{
		Key: key, Name: name, Room: room, Alias: matrix.NewRoomAlias(t.aliasLocalpart(key.Channel), m.Config.ServerName),
	})
}

// lodged is the link with a room of others, to which an operator of the channel has agreed when the other bridge
// asked. It goes on as it was, also if everybody can read the room.
func lodged(key bridge.Key, name string, room matrix.RoomID) plumb {
	sum := sha256.Sum256([]byte(key.Network + "\x00" + key.Channel + "\x00" + string(room)))
	return plumb{
		ID: "moved" + hex.EncodeToString(sum[:8]), State: plumbLinked, Network: key.Network, Channel: []byte(key.Channel), Name: []byte(name),
		Room: room, Tell: room, World: true, Since: time.Now().UnixMilli(),
	}
}

func (m *move) directs() {
	for _, d := range m.Store.Directs {
		n := m.Config.Network(d.Domain)
		if n == nil {
			m.leave("pm_rooms: %s: there is no network %q in the configuration", d.Room, d.Domain)
			continue
		}
		t := m.names[n.ID]
		folded := t.fold(d.Nick)
		if voice := matrix.NewUserID(t.ghostLocalpart(folded), m.Config.ServerName); voice != d.Ghost {
			m.leave("pm_rooms: %s of %s and %s ends: %s goes on as %s", d.Room, d.User, d.Ghost, d.Nick, voice)
			continue
		}
		m.in.Portals = append(m.in.Portals, bridge.InheritedPortal{
			Key: bridge.Key{Network: n.ID, Channel: folded + " " + string(d.User)}, Name: d.Nick, Room: d.Room,
		})
	}
}
