package irc

import (
	"trestle/bridges/irc/wire"
)

// confidential tells whether a message is for those members of a channel who have a status, or a higher one
// (STATUSMSG). Most people in the room have none, whatever the bot is: only the connections that the server
// shows it to are of people who may read it.
func confidential(c *wire.Conn, m *wire.Message) bool {
	channel, ok := c.Support().Channel(m.Param(0))
	return ok && channel != m.Param(0) && !m.Replayed()
}

// confided takes, on the loop, what somebody says to some of a channel, of whom the puppet is one. It is
// passed on as a private message that says where it was said.
func (p *puppet) confided(m *wire.Message) {
	if command, _, ctcp := m.CTCP(); ctcp && command != "ACTION" {
		return
	}
	private := *m
	private.Command = "PRIVMSG"
	private.Params = []string{p.link.conn.Nick(), "[" + m.Param(0) + "] " + textOf(m)}
	p.whispered(&private)
}
