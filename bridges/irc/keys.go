package irc

import (
	"context"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// keyOf is the key that gets people of Matrix, and the bot, into a channel; empty if there is
// none, or none is known. It is called on the loop.
func (n *network) keyOf(channel string) string {
	for _, m := range n.now().Mappings {
		if m.Key != "" && n.fold(m.Channel) == channel {
			return m.Key
		}
	}
	if p := n.service.bridge.Find(n.key(channel)); p != nil {
		return p.RemoteKey()
	}
	return ""
}

// configuredKey tells whether the operator has given a channel's key: it is for everybody then.
func (n *network) configuredKey(channel string) bool {
	for _, m := range n.now().Mappings {
		if m.Key != "" && n.fold(m.Channel) == channel {
			return true
		}
	}
	return false
}

// hearKey follows a change of the key, so that the bridge finds its way back. Some servers show
// it to nobody; then what is known stays.
func (n *network) hearKey(ch *channel, change wire.ModeChange) {
	if ch.portal == nil || change.Add && (change.Arg == "" || change.Arg == "*") {
		return
	}
	if !change.Add {
		ch.portal.SetRemoteKey("")
		return
	}
	ch.portal.SetRemoteKey(change.Arg)
}

// joinLines ask for channels, as many in one line as the server takes; 0 is no limit. Those with a key come first: the
// keys of a line belong to its first channels.
func (n *network) joinLines(channels []string, most int) []*wire.Message {
	var lines []*wire.Message
	var names, keys string
	inLine := 0
	flush := func() {
		if names != "" {
			m := wire.NewMessage("JOIN", names)
			if keys != "" {
				m.Params = append(m.Params, keys)
			}
			lines = append(lines, m)
		}
		names, keys, inLine = "", "", 0
	}
	add := func(name, key string) {
		if len(names)+len(keys)+len(name)+len(key) >= joinLine || most > 0 && inLine == most {
			flush()
		}
		inLine++
		if names != "" {
			names += ","
		}
		names += name
		if key != "" {
			if keys != "" {
				keys += ","
			}
			keys += key
		}
	}
	for _, name := range channels {
		if key := n.keyOf(n.fold(name)); key != "" {
			add(name, key)
		}
	}
	for _, name := range channels {
		if n.keyOf(n.fold(name)) == "" {
			add(name, "")
		}
	}
	flush()
	return lines
}

// openFor opens a channel for somebody who asks to be invited. Where the room is only for those
// who are, whoever asks must know the channel's key.
func (n *network) openFor(ctx context.Context, name, key string) (*bridge.Portal, error) {
	p, err := n.openWith(ctx, name, key, "")
	if err != nil {
		return nil, err
	}
	barred := true
	n.ask(ctx, func() { barred = n.closedTo(p, key) })
	if barred {
		return nil, closedError(name)
	}
	return p, nil
}

func closedError(name string) error {
	return matrix.Forbidden("%s is for those who are invited, or know its key.", decode(name))
}

// closedTo tells whether a channel, in which the bot is, or was, is closed to who says a key, or, without one, to anybody. It is
// called on the loop.
func (n *network) closedTo(p *bridge.Portal, key string) bool {
	ch := n.known(p.Key().Channel)
	if ch == nil || !ch.told { // what it is now is not known: it counts what it was
		return p.Rights().Invited
	}
	if ch.is('i') {
		return true
	}
	return ch.is('k') && !n.configuredKey(ch.key) && (key == "" || key != p.RemoteKey())
}

// in tells whether a Matrix user is in a channel, by a connection of their own. It is called on the loop.
func (ch *channel) in(user matrix.UserID) bool {
	for u := range ch.members {
		if u.puppet != nil && u.puppet.user == user {
			return true
		}
	}
	return false
}
