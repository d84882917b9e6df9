package irc

import (
	"errors"
	"strings"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// maxReason is how many bytes of a reason stand in a reaction.
const maxReason = 50

// undelivered says on a message that it did not reach IRC, and why; once, however often that
// comes up.
func (n *network) undelivered(p *bridge.Portal, e *client.Event, why string) {
	id := matrix.EventID(e.ID)
	switch n.now().Undelivered {
	case "reply":
		p.NoticeOn(id, "undelivered", "This message did not reach IRC: "+why)
	case "reaction":
		p.ReactOn(id, "❌ "+clip(why, maxReason))
	}
}

// refusalOf is why a message was not said, as a sentence.
func refusalOf(err error) string {
	why := err.Error()
	if refusal, ok := errors.AsType[*wire.SendError](err); ok {
		why = plain(refusal.Text)
	} else if errors.Is(err, errNotInChannel) {
		why = "the user is not in the channel on IRC"
	}
	return strings.TrimSuffix(why, ".") + "."
}
