package predecessor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"trestle/internal/matrix"
)

// maxJSON bounds a column that holds JSON, in bytes.
const maxJSON = 1 << 20

func (s *Store) addRoom(row []string) error {
	room, err := matrix.ParseRoomID(row[1])
	if err != nil {
		return err
	}
	if row[2] != "channel" {
		return fmt.Errorf("its type is %.40q", row[2])
	}
	if !validChannel(row[4]) {
		return fmt.Errorf("%.200q is not a channel", row[4])
	}
	s.Rooms = append(s.Rooms, Room{Origin: row[0], Room: room, Domain: row[3], Channel: row[4]})
	return nil
}

// itself stands for a user where a room is that bridge's own.
const itself = "-internal-"

func (s *Store) addAdmin(row []string) error {
	if row[1] == itself {
		return nil
	}
	room, err := matrix.ParseRoomID(row[0])
	if err != nil {
		return err
	}
	user, err := matrix.ParseUserID(row[1])
	if err != nil {
		return err
	}
	s.Admins = append(s.Admins, Admin{room, user})
	return nil
}

func (s *Store) addDirect(row []string) error {
	room, err := matrix.ParseRoomID(row[0])
	if err != nil {
		return err
	}
	user, err := matrix.ParseUserID(row[3])
	if err != nil {
		return err
	}
	ghost, err := matrix.ParseUserID(row[4])
	if err != nil {
		return err
	}
	nick := strings.ReplaceAll(row[2], "~", "^") // it was folded
	if !validNick(nick) {
		return fmt.Errorf("%.200q is not a nick", row[2])
	}
	s.Directs = append(s.Directs, Direct{Room: room, Domain: row[1], Nick: nick, User: user, Ghost: ghost})
	return nil
}

func (s *Store) addGhost(row []string) error {
	user, err := matrix.ParseUserID(row[0])
	if err == nil {
		s.Ghosts = append(s.Ghosts, user)
	}
	return err
}

func (s *Store) addBlocked(row []string) error {
	user, err := matrix.ParseUserID(row[0])
	if err == nil {
		s.Blocked = append(s.Blocked, user)
	}
	return err
}

func (s *Store) addClient(row []string) error {
	user, err := matrix.ParseUserID(row[0])
	if err != nil {
		return err
	}
	var said struct {
		Username string `json:"username"`
		Nick     string `json:"nick"`
		IPv6     string `json:"ipv6"`

		Certificate struct {
			Certificate string `json:"cert"`
			Key         string `json:"key"`
		} `json:"certificate"`
	}
	if err := parse(row[2], &said); err != nil {
		return err
	}
	if said.Nick != "" && !validNick(said.Nick) {
		return fmt.Errorf("%.200q is not a nick", said.Nick)
	}
	if oneLine(said.Username) != said.Username {
		return errors.New("its user name is more than a line")
	}
	if said.IPv6 != "" {
		addr, err := netip.ParseAddr(said.IPv6)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return fmt.Errorf("%.200q is not an address", said.IPv6)
		}
		said.IPv6 = addr.String()
	}
	certificate, key := cmp.Or(row[4], said.Certificate.Certificate), cmp.Or(row[5], said.Certificate.Key)
	if certificate == "" || key == "" {
		certificate, key = "", ""
	}
	if row[3] == "" && key == "" && inventedName(said.Username, user) {
		said.Username = ""
	}
	if said.Username == "" && said.Nick == "" && said.IPv6 == "" && row[3] == "" && key == "" {
		return nil
	}
	s.Clients = append(s.Clients, Client{
		User: user, Domain: row[1], Username: said.Username, Nick: said.Nick, IPv6: said.IPv6, Sealed: row[3],
		Certificate: certificate, SealedKey: key,
	})
	return nil
}

func (s *Store) addFeatures(row []string) error {
	user, err := matrix.ParseUserID(row[0])
	if err != nil {
		return err
	}
	// It may have "features" beside it: what was there before the last change, and counts no more. Without a value, the user
	// has gone back to the default.
	var said struct {
		Mentions *bool `json:"mentions"`
	}
	if err := parse(row[1], &said); err != nil {
		return err
	}
	if said.Mentions != nil {
		s.Mentions[user] = *said.Mentions
	}
	return nil
}

// nameOnIRC is how long user names are there, in bytes.
const nameOnIRC = 10

// inventedName tells whether a user name is the one that the bridge has made up of the user's ID, and kept, for lack of
// another: it is no account of the user's.
func inventedName(name string, user matrix.UserID) bool {
	made := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("[]^\\{}-`", r)) {
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimPrefix(string(user), "@")))
	if made == "" || made[0] < 'a' || made[0] > 'z' {
		made = "M" + made
	}
	base, number, numbered := strings.Cut(name, "_") // which others' names have made necessary
	if numbered {
		return len(name) == nameOnIRC && strings.HasPrefix(made, base) && strings.Trim(number, "0123456789") == "" && number != ""
	}
	return name == made[:min(len(made), nameOnIRC)]
}

// parse reads a column that holds JSON, or nothing.
func parse(column string, into any) error {
	if len(column) > maxJSON {
		return errors.New("the column is too long")
	}
	if column == "" {
		return nil
	}
	return json.Unmarshal([]byte(column), into)
}
