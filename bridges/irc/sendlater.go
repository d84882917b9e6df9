package irc

import "trestle/bridges/irc/wire"

// maxSending is how much may wait for connections that take no more at the moment: a server may give us reason for
// endlessly much, and not read it.
const maxSending = 5000

// sendLater sends a message without waiting. Beyond what may wait it is dropped.
func (n *network) sendLater(conn *wire.Conn, m *wire.Message) {
	if n.sending.Add(1) > maxSending {
		n.sending.Add(-1)
		n.log.Debug("too much waits to be sent", "command", m.Command)
		return
	}
	n.goRun(func() {
		defer n.sending.Add(-1)
		_ = conn.Send(n.ctx, m) // if the connection has ended, so has what this is about
	})
}
