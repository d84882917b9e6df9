package ircv3

import (
	"cmp"
	"slices"
	"strings"
)

// A channel exists while somebody is in it.
type channel struct {
	name    string
	topic   string
	modes   map[byte]string    // that are on, with their arguments
	lists   map[byte][]string  // masks
	members map[*Client]string // and their status letters
	invited map[*Client]bool   // and not yet there
	history []*Message         // what was said
}

// sorted are the members, in an order that is the same each time.
func (ch *channel) sorted() []*Client {
	members := make([]*Client, 0, len(ch.members))
	for member := range ch.members {
		members = append(members, member)
	}
	slices.SortFunc(members, func(a, b *Client) int { return cmp.Compare(a.nick, b.nick) })
	return members
}

// at is a channel that the client is in, or nil; then it is told so.
func (s *Server) at(c *Client, name string) *channel {
	ch := s.channels[s.fold(name)]
	switch {
	case ch == nil:
		c.Reply("403", name, "No such channel")
		return nil
	case !c.channels[ch]:
		c.Reply("442", name, "You're not on that channel")
		return nil
	}
	return ch
}

// ruled is a channel of which the client is an operator.
func (s *Server) ruled(c *Client, name string) *channel {
	ch := s.at(c, name)
	if ch != nil && !s.rules(ch, c) {
		c.Reply("482", name, "You're not channel operator")
		return nil
	}
	return ch
}

func runJoin(s *Server, c *Client, m *Message) {
	keys := strings.Split(m.Param(1), ",")
	for i, name := range strings.Split(m.Param(0), ",") {
		key := ""
		if i < len(keys) {
			key = keys[i]
		}
		s.join(c, name, key)
	}
}

func (s *Server) join(c *Client, name, key string) {
	if !s.isChannel(name) || len(name) > 64 || strings.ContainsAny(name, "\a") {
		c.Reply("403", name, "No such channel")
		return
	}
	ch := s.channels[s.fold(name)]
	if ch != nil && c.channels[ch] {
		return
	}
	refused := s.refusals[s.fold(name)]
	if refused.code == "" && ch != nil {
		refused = s.barred(ch, c, key)
	}
	switch {
	case refused.forward != "":
		c.Reply(refused.code, name, refused.forward, refused.text)
		if s.fold(refused.forward) != s.fold(name) {
			s.join(c, refused.forward, "")
		}
		return
	case refused.code != "":
		c.Reply(refused.code, name, refused.text)
		return
	}
	status := ""
	if ch == nil {
		ch = &channel{
			name: name, modes: map[byte]string{'n': ""}, lists: map[byte][]string{},
			members: map[*Client]string{}, invited: map[*Client]bool{},
		}
		s.channels[s.fold(name)] = ch
		status = "o"
	}
	ch.members[c] = status
	c.channels[ch] = true
	delete(ch.invited, c)
	s.announce(ch, c)
}

// barred is why a client may not join a channel that exists.
func (s *Server) barred(ch *channel, c *Client, key string) refusal {
	limit, limited := ch.modes['l']
	wanted, locked := ch.modes['k']
	_, closed := ch.modes['i']
	_, registered := ch.modes['r']
	switch {
	case ch.invited[c]:
		return refusal{}
	case s.matches(ch.lists['b'], c):
		return refusal{code: "474", text: "Cannot join channel (+b)"}
	case closed:
		return refusal{code: "473", text: "Cannot join channel (+i)"}
	case locked && key != wanted:
		return refusal{code: "475", text: "Cannot join channel (+k)"}
	case registered && s.accounts[s.fold(c.nick)] == "":
		return refusal{code: "477", text: "You need to be identified to a registered account"}
	case limited && len(ch.members) >= number(limit):
		return refusal{code: "471", text: "Cannot join channel (+l)"}
	}
	return refusal{}
}

// announce tells a channel that a client has joined, and the client what is there.
func (s *Server) announce(ch *channel, c *Client) {
	plain := s.stamp(c, NewMessage(c.source(), "JOIN", ch.name), true)
	extended := *plain
	account := cmp.Or(s.accounts[s.fold(c.nick)], "*")
	extended.Params = []string{ch.name, account, c.real}
	for _, member := range ch.sorted() {
		if member.caps["extended-join"] {
			member.Send(&extended)
		} else {
			member.Send(plain)
		}
	}
	if ch.topic != "" {
		c.Reply("332", ch.name, ch.topic)
	}
	s.names(ch, c)
}

func runNames(s *Server, c *Client, m *Message) {
	if ch := s.channels[s.fold(m.Param(0))]; ch != nil {
		s.names(ch, c)
	} else {
		c.Reply("366", m.Param(0), "End of NAMES list")
	}
}

// names lists who is in a channel, as many to a line as fit.
func (s *Server) names(ch *channel, c *Client) {
	var line string
	for _, member := range ch.sorted() {
		entry := s.symbols(ch, member, c.caps["multi-prefix"])
		if c.caps["userhost-in-names"] {
			entry += member.source()
		} else {
			entry += member.nick
		}
		if line != "" && len(line)+len(entry) > 380 {
			c.Reply("353", "=", ch.name, line)
			line = ""
		}
		line = strings.TrimLeft(line+" "+entry, " ")
	}
	c.Reply("353", "=", ch.name, line)
	c.Reply("366", ch.name, "End of NAMES list")
}

func runPart(s *Server, c *Client, m *Message) {
	for _, name := range strings.Split(m.Param(0), ",") {
		ch := s.at(c, name)
		if ch == nil {
			continue
		}
		s.tell(ch, s.stamp(c, NewMessage(c.source(), "PART", ch.name, m.Param(1)), true), nil)
		s.leave(ch, c)
	}
}

// leave takes a client out of a channel, which goes with the last.
func (s *Server) leave(ch *channel, c *Client) {
	delete(ch.members, c)
	delete(c.channels, ch)
	if len(ch.members) == 0 {
		delete(s.channels, s.fold(ch.name))
	}
}

func runKick(s *Server, c *Client, m *Message) {
	ch := s.ruled(c, m.Param(0))
	if ch == nil {
		return
	}
	victim := s.nicks[s.fold(m.Param(1))]
	if victim == nil || !victim.channels[ch] {
		c.Reply("441", m.Param(1), ch.name, "They aren't on that channel")
		return
	}
	reason := cmp.Or(m.Param(2), c.nick)
	s.tell(ch, s.stamp(c, NewMessage(c.source(), "KICK", ch.name, victim.nick, reason), true), nil)
	s.leave(ch, victim)
}

func runInvite(s *Server, c *Client, m *Message) {
	guest := s.nicks[s.fold(m.Param(0))]
	if guest == nil {
		c.Reply("401", m.Param(0), "No such nick")
		return
	}
	ch := s.channels[s.fold(m.Param(1))]
	if ch != nil {
		if ch = s.at(c, m.Param(1)); ch == nil {
			return
		}
		ch.invited[guest] = true
	}
	c.Reply("341", guest.nick, m.Param(1))
	guest.Send(s.stamp(c, NewMessage(c.source(), "INVITE", guest.nick, m.Param(1)), true))
}

func runTopic(s *Server, c *Client, m *Message) {
	ch := s.at(c, m.Param(0))
	switch {
	case ch == nil:
	case len(m.Params) < 2 && ch.topic == "":
		c.Reply("331", ch.name, "No topic is set")
	case len(m.Params) < 2:
		c.Reply("332", ch.name, ch.topic)
	default:
		if _, closed := ch.modes['t']; closed && !s.rules(ch, c) {
			c.Reply("482", ch.name, "You're not channel operator")
			return
		}
		ch.topic = m.Param(1)
		s.tell(ch, s.stamp(c, NewMessage(c.source(), "TOPIC", ch.name, ch.topic), true), nil)
	}
}
