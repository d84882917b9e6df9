package wire

import (
	"slices"
	"strings"
)

// A Member is one entry of NAMES.
type Member struct {
	Prefix Prefix // User and Host with userhost-in-names only
	Modes  string // "ov", from the most powerful down
}

// A ModeChange is one letter of a MODE.
type ModeChange struct {
	Add  bool
	Mode byte
	Arg  string // empty when it takes none
}

// IsChannel tells whether a target is a channel, rather than a nick.
func (s *Support) IsChannel(target string) bool {
	return target != "" && strings.IndexByte(s.ChanTypes, target[0]) >= 0
}

// Channel is the channel that a target means: STATUSMSG's "@#chan" is "#chan".
// ok is false for nicks.
func (s *Support) Channel(target string) (channel string, ok bool) {
	if s.IsChannel(target) {
		return target, true
	}
	rest := strings.TrimLeft(target, s.StatusMsg)
	if s.StatusMsg != "" && s.IsChannel(rest) {
		return rest, true
	}
	return "", false
}

// ValidChannel tells whether a name can be joined. "0", which leaves all channels, is none.
func (s *Support) ValidChannel(name string) bool {
	return s.IsChannel(name) && !strings.ContainsAny(name, " ,\a\r\n\x00") &&
		(s.ChannelLen == 0 || len(name) <= s.ChannelLen)
}

// IsStatus tells whether a mode letter is a member's status (PREFIX).
func (s *Support) IsStatus(mode byte) bool {
	return slices.ContainsFunc(s.Prefixes, func(p PrefixMode) bool { return p.Mode == mode })
}

// Names reads a RPL_NAMREPLY.
func (s *Support) Names(m *Message) (channel string, members []Member) {
	if len(m.Params) < 3 {
		return "", nil
	}
	channel = m.Params[len(m.Params)-2]
	for entry := range strings.FieldsFuncSeq(m.Last(), func(r rune) bool { return r == ' ' }) {
		if member := s.member(entry); member.Prefix.Nick != "" {
			members = append(members, member)
		}
	}
	return channel, members
}

// member reads "@+bob!user@host".
func (s *Support) member(entry string) Member {
	var modes []byte
	for entry != "" {
		i := slices.IndexFunc(s.Prefixes, func(p PrefixMode) bool { return p.Symbol == entry[0] })
		if i < 0 {
			break
		}
		modes = append(modes, s.Prefixes[i].Mode)
		entry = entry[1:]
	}
	return Member{ParsePrefix(entry), string(modes)}
}

// ModeChanges reads the parameters of a channel's MODE (or RPL_CHANNELMODEIS)
// behind the channel. A letter whose argument is missing is left out, except for list modes
// (a question).
func (s *Support) ModeChanges(params []string) []ModeChange {
	if len(params) == 0 {
		return nil
	}
	letters, args := params[0], params[1:]
	var changes []ModeChange
	add := true
	for i := range len(letters) {
		mode := letters[i]
		if mode == '+' || mode == '-' {
			add = mode == '+'
			continue
		}
		change := ModeChange{Add: add, Mode: mode}
		if s.takesArg(mode, add) {
			switch {
			case len(args) > 0:
				change.Arg, args = args[0], args[1:]
			case strings.IndexByte(s.ChanModes[0], mode) < 0:
				continue
			}
		}
		changes = append(changes, change)
	}
	return changes
}

func (s *Support) takesArg(mode byte, add bool) bool {
	return s.IsStatus(mode) || strings.IndexByte(s.ChanModes[0], mode) >= 0 ||
		strings.IndexByte(s.ChanModes[1], mode) >= 0 ||
		add && strings.IndexByte(s.ChanModes[2], mode) >= 0
}
