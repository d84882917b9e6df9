package wire

import (
	"context"
	"strings"
)

// joinReasons are the numerics that say why not.
var joinReasons = map[string]error{
	"263": ErrUnavailable, "403": ErrNoSuchChannel, "405": ErrTooManyChannels,
	"407": ErrUnavailable, "437": ErrUnavailable, "461": ErrJoinRefused,
	"470": ErrForwarded, "471": ErrChannelFull, "473": ErrInviteOnly,
	"474": ErrChannelBan, "475": ErrBadKey, "476": ErrNoSuchChannel,
	"477": ErrNeedAccount, "479": ErrNoSuchChannel, "480": ErrNeedTLS,
	"489": ErrNeedTLS, "520": ErrNeedOper,
}

// JoinChannel joins and waits for the server's answer: nil once we are in, or are
// already; else a *JoinError, the context's error, or the connection's.
func (c *Conn) JoinChannel(ctx context.Context, channel, key string) error {
	switch {
	case !c.Support().ValidChannel(channel):
		return &JoinError{Channel: channel, Reason: ErrNoSuchChannel, Text: "not a channel's name"}
	case strings.ContainsAny(key, " ,\r\n\x00") || strings.HasPrefix(key, ":"):
		return &JoinError{Channel: channel, Reason: ErrBadKey}
	}
	join := NewMessage("JOIN", channel)
	if key != "" {
		join.Params = append(join.Params, key)
	}
	var refused *JoinError
	stop, done := c.watch(func(m *Message) bool {
		if m.own && !m.Replayed() && m.Command == "JOIN" && c.Support().CaseMapping.Equal(m.Param(0), channel) {
			return true
		}
		refused = c.joinRefusal(m, channel)
		return refused != nil
	})
	defer stop()
	// There would be no answer. What is learnt from now on is watched: somebody may have asked already.
	if c.In(channel) {
		return nil
	}
	if err := c.Send(ctx, join); err != nil {
		return err
	}
	if err := c.wait(ctx, done); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	return nil
}

// joinRefusal is what a message says against our joining a channel, if that is what it
// is about.
func (c *Conn) joinRefusal(m *Message, channel string) *JoinError {
	code, refused := refusal(m)
	if !refused && m.Command != "263" {
		return nil
	}
	about := func(param string) bool { return c.Support().CaseMapping.Equal(param, channel) }
	switch {
	case m.Command == "FAIL":
		if !strings.EqualFold(m.Param(0), "JOIN") || len(m.Params) > 3 && !about(m.Param(2)) {
			return nil
		}
	case m.Command == "263" || m.Command == "461":
		if !strings.EqualFold(m.Param(1), "JOIN") {
			return nil
		}
	case !about(m.Param(1)) || notAboutJoin[m.Command]:
		return nil
	}
	e := &JoinError{Channel: channel, Reason: joinReasons[m.Command], Code: code, Text: m.Last()}
	if e.Reason == nil {
		e.Reason = ErrJoinRefused
	}
	if m.Command == "470" && len(m.Params) > 3 {
		e.Forward = m.Param(2)
	}
	return e
}

// notAboutJoin are errors that name a channel, but answer something else that we
// may have sent meanwhile.
var notAboutJoin = map[string]bool{
	"401": true, "404": true, "415": true, "441": true, "442": true, "443": true,
	"467": true, "472": true, "478": true, "482": true,
}

// ChangeNick asks for another nick and waits for the answer (*NickError when
// refused). Of several at once each waits for the one before it.
func (c *Conn) ChangeNick(ctx context.Context, nick string) error {
	select {
	case c.renaming <- struct{}{}:
		defer func() { <-c.renaming }()
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.Nick() == nick {
		return nil
	}
	if nick == "" || strings.ContainsAny(nick, " ,!@*?\r\n\x00") || c.Support().IsChannel(nick) {
		return &NickError{Nick: nick, Text: "not a nick"}
	}
	var refused *NickError
	err := c.Request(ctx, NewMessage("NICK", nick), func(m *Message) bool {
		if m.own && !m.Replayed() && m.Command == "NICK" {
			return true
		}
		if nickRefused(m) {
			code, _ := refusal(m)
			refused = &NickError{nick, code, m.Last()}
		}
		return refused != nil
	})
	if err == nil && refused != nil {
		return refused
	}
	return err
}

func nickRefused(m *Message) bool {
	switch m.Command {
	case "430", "431", "432", "433", "435", "436", "437", "438", "447", "484":
		return true
	case "FAIL":
		return strings.EqualFold(m.Param(0), "NICK")
	}
	return false
}
