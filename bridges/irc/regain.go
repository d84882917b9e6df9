package irc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"trestle/bridges/irc/wire"
)

const (
	regainEvery  = 10 * time.Minute // where the server does not tell when a nick is free
	regainAtMost = 2 * time.Hour    // after it was taken away again and again
	ghostWait    = 2 * time.Second  // for services to take a nick from somebody
)

// nickState is what a puppet knows about its nick. It belongs to the loop.
type nickState struct {
	asked    []string    // by us, and not answered yet
	again    bool        // there is another wish when that is answered
	chosen   string      // by the user, and not kept yet: what is kept is not wanted any more
	taken    int         // how often it was taken away since the connection came up
	ghosted  bool        // services were asked to free it, which is done once
	due      *time.Timer // the next attempt
	quiet    time.Time   // no attempt before this
	renaming bool        // another name waits to be another nick
	signs    int         // that it may be free, since the connection came up
}

// askNick asks for a nick, which is among those that are asked for. When it returns, the loop has heard of the new one, or
// there is none.
func (p *puppet) askNick(ctx context.Context, conn *wire.Conn, nick string) error {
	err := conn.ChangeNick(ctx, nick)
	if err == nil {
		_ = conn.Barrier(ctx) // if it fails, so has the connection
	}
	p.net.ask(ctx, func() {
		if i := slices.Index(p.nick.asked, nick); i >= 0 {
			p.nick.asked = slices.Delete(p.nick.asked, i, i+1)
		}
		if l := p.link; p.nick.again && len(p.nick.asked) == 0 && l != nil && l.conn != nil && !l.closed {
			p.nick.again = false
			if p.otherNick() {
				p.tryNick(l)
			}
		}
	})
	return err
}

// wantedNick is the nick that the user has asked for, or else the template's.
func (p *puppet) wantedNick() string {
	n := p.net
	if nick := cmp.Or(p.nick.chosen, n.service.accounts.of(p.who()).nick); nick != "" {
		return nick
	}
	length := n.nickLength()
	if p.link != nil && p.link.conn != nil {
		length = p.link.conn.Support().NickLen
	}
	return n.now().templates.puppetNick(p.user, p.display, length)
}

func (p *puppet) who() whose { return whose{p.net.config.ID, p.user} }

// otherNick tells whether the connection has another nick than it should, and has its goroutine
// look out for that. A server that cuts nicks is right.
func (p *puppet) otherNick() bool {
	n, conn := p.net, p.link.conn
	want := p.wantedNick()
	if limit := conn.Support().NickLen; limit > 0 && len(want) > limit {
		want = want[:limit]
	}
	want = n.fold(want)
	if n.fold(conn.Nick()) == want {
		p.missing.Store(nil)
		return false
	}
	p.missing.Store(&want)
	return true
}

// nickUp is called when the connection is up, perhaps with another nick than it should have.
func (p *puppet) nickUp(l *link) {
	p.nick = nickState{}
	if p.otherNick() {
		p.watchNick(l)
		p.tryNick(l)
	}
}

// watchNick has the server tell when the nick is free, if it can.
func (p *puppet) watchNick(l *link) {
	conn, want := l.conn, p.wantedNick()
	if _, can := conn.Support().Raw["MONITOR"]; can {
		p.net.sendLater(conn, wire.NewMessage("MONITOR", "+", want))
	}
}

// maxForced is how many times in the life of a connection a user hears of being renamed.
const maxForced = 3

// nickChanged takes a new nick of our own. One that we did not ask for was forced upon us:
// it is not fought about, but when the old one is free after a while it is asked for.
func (p *puppet) nickChanged(nick string) {
	n, l := p.net, p.link
	if i := slices.IndexFunc(p.nick.asked, func(asked string) bool { return n.fold(asked) == n.fold(nick) }); i >= 0 {
		p.nick.asked = slices.Delete(p.nick.asked, i, i+1)
		p.otherNick()
		return
	}
	if !p.otherNick() {
		return
	}
	wait := min(n.now().RegainAfter<<min(p.nick.taken, 10), regainAtMost)
	p.nick.quiet = time.Now().Add(wait)
	if p.nick.taken++; p.nick.taken <= maxForced {
		p.notify(fmt.Sprintf("was renamed by %s to %s. If %s is free in %s, you get it back.",
			n.now().Name, decode(nick), p.wantedNick(), wait))
	}
	p.watchNick(l)
	p.nickLater(l, wait)
}

// nickFree is called when somebody else seems to have given up the nick.
func (p *puppet) nickFree(l *link) {
	if p.link == l && !l.closed && l.conn != nil && p.otherNick() {
		p.nick.signs++
		p.nickLater(l, max(time.Until(p.nick.quiet), 0))
	}
}

// rename asks for the nick that goes with a new name: at once, or, if that has been often, later, when the name may be another one.
func (p *puppet) rename(l *link) {
	if p.nick.renaming {
		return
	}
	wait := p.renames.reserve(time.Now())
	if wait == 0 {
		p.tryNick(l)
		return
	}
	p.nick.renaming = true
	p.net.after(wait, func() {
		if p.link != l {
			return
		}
		if p.nick.renaming = false; !l.closed && p.otherNick() {
			p.tryNick(l)
		}
	})
}

// nickLater asks for the nick after a wait.
func (p *puppet) nickLater(l *link, wait time.Duration) {
	if p.nick.due != nil {
		p.nick.due.Stop()
	}
	p.nick.due = p.net.after(wait, func() {
		if p.link == l && !l.closed && p.otherNick() {
			p.tryNick(l)
		}
	})
}

// tryNick asks for the nick that the user should have. Who has logged in may have services
// take it from whoever has it.
func (p *puppet) tryNick(l *link) {
	n, conn, want := p.net, l.conn, p.wantedNick()
	ghost := ""
	if !p.nick.ghosted && l.loggedIn && n.now().NickServ != "" {
		ghost = n.now().NickServ
	}
	if len(p.nick.asked) > 0 {
		p.nick.again = true
		return
	}
	p.nick.asked = append(p.nick.asked, want)
	signs := p.nick.signs
	n.goRun(func() {
		ctx, cancel := context.WithTimeout(n.ctx, joinWait)
		defer cancel()
		err := p.askNick(ctx, conn, want)
		refusal, refused := errors.AsType[*wire.NickError](err)
		used := refused && (refusal.Code == "433" || refusal.Code == "436" || refusal.Code == "NICKNAME_IN_USE")
		if used && ghost != "" {
			_ = conn.Send(ctx, wire.NewMessage("PRIVMSG", ghost, n.now().Ghost+" "+want))
		}
		n.post(func() {
			switch {
			case p.link != l || err == nil:
			case used && ghost != "":
				p.nick.ghosted = true
				p.nickLater(l, ghostWait)
			case signs != p.nick.signs: // it became free while the refusal was on its way
				p.nickFree(l)
			default:
				n.log.Info("puppet keeps its nick", "user", p.user, "wanted", want, "err", err)
				p.nickLater(l, regainEvery)
			}
		})
	})
}

// nickSeen looks, on the connection's goroutine, for signs that the wanted nick is free.
func (p *puppet) nickSeen(l *link, c *wire.Conn, m *wire.Message) {
	want := p.missing.Load()
	switch {
	case want == nil:
	case m.Command == "731", // MONITOR: offline
		(m.Command == "QUIT" || m.Command == "NICK") && !c.FromSelf(m) && p.net.fold(m.Prefix.Nick) == *want:
		p.net.post(func() { p.nickFree(l) })
	}
}
