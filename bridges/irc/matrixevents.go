package irc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// roomPatience is how long a room's next event waits for this one, so that what two users say
// keeps its order on IRC too. One whose connection is slow or away does not
// hold the others up for longer.
const roomPatience = time.Second

// HandleEvent implements bridge.Remote.
func (s *Service) HandleEvent(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	n := s.network(p.Key().Network)
	if n == nil { // no longer configured
		done()
		return
	}
	if p.Direct() {
		n.directEvent(ctx, p, e, done)
		return
	}
	if p.Plumbed() && !n.lodger(ctx, p, e) {
		done()
		return
	}
	if n.isShut(p.Key().Channel) && e.Type != event.StateMember {
		done() // the room was told
		return
	}
	switch e.Type {
	case event.EventMessage, event.EventSticker:
		n.say(ctx, p, e, done)
	case event.EventReaction:
		n.react(ctx, p, e, done)
	case event.StateTopic:
		n.setTopic(ctx, p, e, done)
	case event.StatePowerLevels:
		n.setPower(ctx, p, e, done)
	case event.StateJoinRules:
		n.setJoinRule(ctx, p, e, done)
	case event.EventRedaction:
		n.redact(ctx, p, e, done)
	case event.StateMember:
		if n.moderates(ctx, p, e, done) {
			return
		}
		n.member(ctx, p, e)
		done()
	case event.EventEncrypted:
		n.undelivered(p, e, e.Unreadable)
		n.service.bridge.Stored(done)
	default:
		if kindOfPoll(e.Type.Type) != "" {
			n.say(ctx, p, e, done)
			return
		}
		done()
	}
}

// say has a puppet say a message.
func (n *network) say(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	n.speak(ctx, p, e, n.render(ctx, p, e), done)
}

// speak has a puppet say what an event became.
func (n *network) speak(ctx context.Context, p *bridge.Portal, e *client.Event, said saying, done func()) {
	if len(said.lines) == 0 {
		done()
		return
	}
	sender, lines := matrix.UserID(e.Sender), said.lines
	if n.loopedBack(p, e, lines) {
		n.service.bridge.Stored(done)
		return
	}
	u := &utterance{
		portal: p, event: matrix.EventID(e.ID), sender: sender, seq: e.Seq, channel: p.Key().Channel, target: p.Name(), kind: said.kind, lines: lines, tags: said.tags, at: n.service.journal.at(e.Seq), direct: p.Direct(),
	}
	told := u.at.Doubt
	if told {
		// To say it again would nearly always be to say it twice. The journal keeps the doubt until it
		// has been told, or we are killed once more without anybody knowing.
		u.at.Doubt = false
		n.doubt(p, e, fmt.Sprintf("The bridge was killed while a message of %s was on its way to IRC. It may not be there: “%s”", sender, excerpt(lines[0])))
	}
	n.utter(ctx, sender, u, func(err error) {
		told = told || err != nil || u.doubt != ""
		if err != nil {
			n.service.metrics.undelivered.Inc()
			if !silent(err) {
				n.undelivered(p, e, refusalOf(err))
			}
		} else {
			n.service.metrics.toIRC.Inc()
			n.noteSent(p, matrix.EventID(e.ID), bridge.Sent{
				Sender: sender, Excerpt: excerpt(lines[0]), Time: time.UnixMilli(e.Timestamp),
			}, u.ids)
		}
		if u.doubt != "" {
			n.doubt(p, e, fmt.Sprintf("The IRC server went away while it was taking a message of %s. It may be there twice: “%s”", sender, excerpt(u.doubt)))
		}
		finish := func() {
			done()
			n.service.journal.forget(e.Seq)
		}
		if told {
			n.service.bridge.Stored(finish) // else a kill may leave the room without a word
		} else {
			finish()
		}
	})
}

// doubt says on a message what nobody can know about it.
func (n *network) doubt(p *bridge.Portal, e *client.Event, text string) {
	n.service.metrics.doubtful.Inc()
	p.NoticeOn(matrix.EventID(e.ID), "doubt", text)
}

// utter queues an utterance and waits for a moment until it is said.
func (n *network) utter(ctx context.Context, user matrix.UserID, u *utterance, finish func(error)) {
	said := make(chan struct{})
	u.finish = func(err error) {
		if errors.Is(err, errNotInChannel) && n.takeOver(user, u) {
			return
		}
		finish(err)
		close(said)
	}
	var s *speech
	var refused error
	wait, missed := time.Duration(0), 0
	if !n.ask(ctx, func() {
		if s, refused = n.voiceFor(user, u); refused == nil {
			missed, refused = s.refuses(u, n.now().Backlog)
		}
		if refused == nil && s.add(u) {
			wait = s.roomWait(time.Now())
		}
	}) {
		return
	}
	if refused != nil {
		finish(refused)
		return
	}
	if missed > 1 {
		u.portal.NoticeOn(u.event, "missed", fmt.Sprintf("%d messages of %s before this one did not reach IRC: there was more to say than it takes.", missed, user))
	}
	patience, began := time.NewTimer(wait), time.Now()
	defer patience.Stop()
	defer func() { s.roomWaited(time.Since(began)) }()
	select {
	case <-said:
	case <-patience.C:
		s.waitForSpace(ctx)
	case <-ctx.Done():
	}
}

// setTopic has a puppet set the channel's topic. If IRC refuses, the room gets
// its old topic back.
func (n *network) setTopic(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	topic := n.topicLine(ctx, e.Content.AsTopic().Topic)
	u := &utterance{channel: p.Key().Channel, message: wire.NewMessage("TOPIC", p.Name(), topic)}
	n.utter(ctx, matrix.UserID(e.Sender), u, func(err error) {
		if err != nil {
			p.Notice("IRC did not take the topic: " + reasonOf(err))
			n.takeBack(p.Key().Channel, "topic", func() {
				if ch := n.known(p.Key().Channel); ch != nil {
					p.SetTopic(ch.topic, time.Now())
				}
			})
		}
		done()
	})
}

func reasonOf(err error) string {
	if refusal, ok := errors.AsType[*wire.SendError](err); ok {
		return decode(refusal.Text)
	}
	return err.Error()
}

// member works off a change of membership by a person.
func (n *network) member(ctx context.Context, p *bridge.Portal, e *client.Event) {
	content, sender, target := e.Content.AsMember(), matrix.UserID(e.Sender), matrix.UserID(e.GetStateKey())
	if ghost, ok := n.service.Ghost(target); ok {
		if content.Membership == event.MembershipLeave || content.Membership == event.MembershipBan {
			n.kick(ctx, p, sender, ghost, content.Reason)
		}
		return
	}
	if content.Membership == event.MembershipJoin {
		if n.away(target) && sameMember(e) {
			return
		}
		n.comeBack(ctx, target)
	}
	n.ask(ctx, func() {
		switch content.Membership {
		case event.MembershipJoin:
			n.personJoined(p, target, content.Displayname)
			n.personRenamed(target, content.Displayname)
		case event.MembershipLeave, event.MembershipBan:
			reason := content.Reason
			if sender != target {
				n.silence(p.Key().Channel, target)
				reason = strings.TrimSuffix(fmt.Sprintf("Removed by %s: %s", sender, reason), ": ")
			}
			n.personLeft(p, target, reason)
		}
	})
}

// kick has a person's puppet kick somebody on IRC. If IRC refuses, the ghost
// comes back.
func (n *network) kick(ctx context.Context, p *bridge.Portal, by matrix.UserID, ghost bridge.Ghost, reason string) {
	nick := ""
	n.ask(ctx, func() {
		folded, _ := n.templates.ghostNick(ghost.ID.Localpart())
		if ch, u := n.known(p.Key().Channel), n.users[folded]; ch != nil && u != nil && ch.members[u] && u.visible() {
			nick = u.nick
		}
	})
	if nick == "" {
		return
	}
	if reason == "" {
		reason = "Kicked by " + string(by)
	}
	u := &utterance{channel: p.Key().Channel, message: wire.NewMessage("KICK", p.Name(), nick, n.kickReason(ctx, reason))}
	n.utter(ctx, by, u, func(err error) {
		if err != nil {
			p.Notice("IRC did not let " + string(by) + " kick " + decode(nick) + ": " + reasonOf(err))
			n.takeBack(p.Key().Channel, "kick "+nick, func() {
				if ch, u := n.known(p.Key().Channel), n.users[n.fold(nick)]; ch == nil || u != nil && ch.members[u] && u.visible() {
					p.Join(n.ghost(nick))
				}
			})
		}
	})
}

// personRenamed gives a puppet the nick that belongs to a new display name.
func (n *network) personRenamed(user matrix.UserID, display string) {
	p := n.puppets[user]
	if p == nil || p.display == display {
		return
	}
	before := p.wantedNick()
	p.display = display
	if before != p.wantedNick() && p.link != nil && p.link.conn != nil {
		p.rename(p.link)
	}
}
