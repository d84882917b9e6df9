package wire

import "strings"

// Nick is our nick at this moment.
func (c *Conn) Nick() string { return c.Self().Nick }

// Self is our prefix as far as the server has shown it.
func (c *Conn) Self() Prefix {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self
}

// FromSelf tells whether a message is by us: an echo, or our own JOIN, NICK, … It is decided
// when the message is read, and stays true when our nick changes.
func (c *Conn) FromSelf(m *Message) bool { return m.own }

// In tells whether we are in a channel.
func (c *Conn) In(channel string) bool {
	channel = c.Support().CaseMapping.Fold(channel)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[channel]
}

// maxChannels bounds what a server can make us believe that we have joined.
const maxChannels = 10000

// learn notes what a message says about us and the server.
func (c *Conn) learn(m *Message) {
	support := c.Support()
	same := support.CaseMapping.Equal
	c.mu.Lock()
	defer c.mu.Unlock()
	m.own = m.Prefix.Nick != "" && same(m.Prefix.Nick, c.self.Nick)
	if m.Replayed() {
		return
	}
	if m.own && m.Prefix.Host != "" {
		c.self.User, c.self.Host = m.Prefix.User, m.Prefix.Host
	}
	switch m.Command {
	case "001":
		c.self.Nick = m.Param(0)
		c.learnWelcome(m.Last(), same)
	case "005":
		c.support.Store(support.with(m))
	case "NICK":
		if m.own && m.Param(0) != "" {
			c.self.Nick = m.Param(0)
		}
	case "CHGHOST":
		if m.own && len(m.Params) >= 2 {
			c.self.User, c.self.Host = m.Params[0], m.Params[1]
		}
	case "396": // our host is hidden, or shown again: "nick [user@]host :text"
		user, host, both := strings.Cut(m.Param(1), "@")
		if !both {
			user, host = c.self.User, m.Param(1)
		}
		if host != "" {
			c.self.User, c.self.Host = user, host
		}
	case "302":
		c.learnUserhost(m, same)
	case "JOIN", "PART", "KICK":
		c.learnChannel(m, support)
	case "263", "439": // too fast
		c.queue.slow()
	}
}

// learnWelcome reads what many servers end their greeting with, "nick!user@host": what has become of the user name. The host is
// often not the one that others see.
func (c *Conn) learnWelcome(text string, same func(a, b string) bool) {
	nick, rest, _ := strings.Cut(text[strings.LastIndexByte(text, ' ')+1:], "!")
	if user, _, both := strings.Cut(rest, "@"); both && same(nick, c.self.Nick) {
		c.self.User = user
	}
}

// learnUserhost reads "nick[*]=(+|-)user@host".
func (c *Conn) learnUserhost(m *Message, same func(a, b string) bool) {
	for _, entry := range strings.Fields(m.Last()) {
		nick, rest, _ := strings.Cut(entry, "=")
		if same(strings.TrimSuffix(nick, "*"), c.self.Nick) && rest != "" {
			c.self.User, c.self.Host, _ = strings.Cut(rest[1:], "@")
		}
	}
}

func (c *Conn) learnChannel(m *Message, support *Support) {
	channel := support.CaseMapping.Fold(m.Param(0))
	switch {
	case m.Command == "JOIN" && m.own && len(c.channels) < maxChannels:
		c.channels[channel] = true
	case m.Command == "PART" && m.own,
		m.Command == "KICK" && support.CaseMapping.Equal(m.Param(1), c.self.Nick):
		delete(c.channels, channel)
	}
}

// What others may see of us at most, before we have seen it ourselves.
const (
	usualUserLen = 11 // with the "~" of an unanswered ident
	usualHostLen = 63
)

// widest is the longest prefix that others can see before our messages.
func (c *Conn) widest() Prefix {
	self, support := c.Self(), c.Support()
	if self.Host == "" {
		self.User = strings.Repeat("u", max(len(c.opts.User)+1, support.UserLen+1, usualUserLen))
		self.Host = strings.Repeat("h", max(support.HostLen, usualHostLen))
	}
	return self
}
