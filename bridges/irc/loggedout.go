package irc

import "trestle/bridges/irc/wire"

// loggedOut is called, on the connection's goroutine, when services have logged a puppet out (RPL_LOGGEDOUT).
// Who has asked to be logged in says nothing without: the connection ends as it is, with what waits in it, and
// the next one logs in, or says why it cannot.
func (p *puppet) loggedOut(l *link, c *wire.Conn) {
	if !l.loggedIn {
		return
	}
	p.speech.setState(nil, nil)
	p.net.post(func() {
		if p.link == l {
			p.net.log.Info("puppet was logged out", "user", p.user)
			p.again = true
			p.net.goRun(func() { c.Close() })
		}
	})
}
