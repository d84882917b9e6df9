package ircv3

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// statuses are the letters of PREFIX, from the most powerful down, and their symbols.
func (s *Server) statuses() (letters, symbols string) {
	letters, symbols, _ = strings.Cut(strings.TrimPrefix(s.options.Prefix, "("), ")")
	return letters, symbols
}

// symbols are those of a member's status; only the highest unless all are wanted.
func (s *Server) symbols(ch *channel, member *Client, all bool) string {
	letters, symbols := s.statuses()
	var found string
	for i := range letters {
		if strings.IndexByte(ch.members[member], letters[i]) >= 0 && (all || found == "") {
			found += symbols[i : i+1]
		}
	}
	return found
}

// ranks tells whether a member has one of some symbols, or more; nothing is needed for none.
func (s *Server) ranks(ch *channel, member *Client, wanted string) bool {
	letters, symbols := s.statuses()
	lowest := -1
	for i := range symbols {
		if strings.IndexByte(wanted, symbols[i]) >= 0 {
			lowest = i
		}
	}
	return wanted == "" || strings.ContainsAny(ch.members[member], letters[:lowest+1])
}

// rules tells whether a client is an operator of a channel, or more.
func (s *Server) rules(ch *channel, c *Client) bool {
	letters, _ := s.statuses()
	return strings.ContainsAny(ch.members[c], letters[:strings.IndexByte(letters, 'o')+1])
}

// matches tells whether one of the masks is the client's.
func (s *Server) matches(masks []string, c *Client) bool {
	return slices.ContainsFunc(masks, func(mask string) bool {
		ok, err := path.Match(s.fold(strings.NewReplacer("[", `\[`, `\`, `\\`).Replace(mask)), s.fold(c.source()))
		return ok && err == nil
	})
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func runMode(s *Server, c *Client, m *Message) {
	if !s.isChannel(m.Param(0)) {
		c.Reply("221", "+")
		return
	}
	ch := s.channels[s.fold(m.Param(0))]
	if ch == nil {
		c.Reply("403", m.Param(0), "No such channel")
		return
	}
	if len(m.Params) < 2 {
		on := slices.Sorted(maps.Keys(ch.modes))
		params := []string{ch.name, "+" + string(on)}
		for _, mode := range on {
			if argument := ch.modes[mode]; argument != "" {
				params = append(params, argument)
			}
		}
		c.Reply("324", params...)
		return
	}
	s.change(ch, c, m.Params[1], m.Params[2:])
}

// change changes modes as far as the client may, and tells the channel.
func (s *Server) change(ch *channel, c *Client, letters string, args []string) {
	kinds := strings.Split(s.options.ChanModes+",,,", ",")
	statuses, _ := s.statuses()
	done, doneArgs, add, sign := "", []string(nil), byte('+'), byte(0)
	for i := range len(letters) {
		mode := letters[i]
		if mode == '+' || mode == '-' {
			add = mode
			continue
		}
		takes := strings.IndexByte(statuses+kinds[0]+kinds[1], mode) >= 0 || add == '+' && strings.IndexByte(kinds[2], mode) >= 0
		arg := ""
		if takes && len(args) > 0 {
			arg, args = args[0], args[1:]
		} else if takes {
			if strings.IndexByte(kinds[0], mode) >= 0 {
				s.list(ch, c, mode)
			}
			continue
		}
		if !s.rules(ch, c) {
			c.Reply("482", ch.name, "You're not channel operator")
			break
		}
		if s.set(ch, c, add == '+', mode, arg, statuses, kinds) {
			if add != sign {
				done, sign = done+string(add), add
			}
			done += string(mode)
			if takes {
				doneArgs = append(doneArgs, arg)
			}
		}
	}
	if done != "" {
		s.tell(ch, s.stamp(c, NewMessage(c.source(), "MODE", append([]string{ch.name, done}, doneArgs...)...), true), nil)
	}
}

// list shows the masks of a list mode.
func (s *Server) list(ch *channel, c *Client, mode byte) {
	entry, end := "367", "368"
	if mode != 'b' {
		entry, end = "728", "729"
	}
	about := []string{ch.name}
	if mode != 'b' {
		about = append(about, string(mode))
	}
	for _, mask := range ch.lists[mode] {
		c.Reply(entry, append(slices.Clone(about), mask, name, "0")...)
	}
	c.Reply(end, append(about, "End of list")...)
}

// set makes one change and tells whether it was one.
func (s *Server) set(ch *channel, c *Client, add bool, mode byte, arg, statuses string, kinds []string) bool {
	switch {
	case strings.IndexByte(statuses, mode) >= 0:
		member := s.nicks[s.fold(arg)]
		if member == nil || !member.channels[ch] {
			c.Reply("441", arg, ch.name, "They aren't on that channel")
			return false
		}
		without := strings.ReplaceAll(ch.members[member], string(mode), "")
		changed := (without != ch.members[member]) != add
		if add {
			without += string(mode)
		}
		ch.members[member] = without
		return changed
	case strings.IndexByte(kinds[0], mode) >= 0:
		had := slices.Contains(ch.lists[mode], arg)
		ch.lists[mode] = slices.DeleteFunc(ch.lists[mode], func(mask string) bool { return mask == arg })
		if add {
			ch.lists[mode] = append(ch.lists[mode], arg)
		}
		return had != add
	case strings.IndexByte(kinds[1]+kinds[2]+kinds[3], mode) < 0:
		c.Reply("472", string(mode), "is unknown mode char to me")
		return false
	}
	old, on := ch.modes[mode]
	if add {
		ch.modes[mode] = arg
	} else {
		delete(ch.modes, mode)
	}
	return on != add || add && old != arg
}
