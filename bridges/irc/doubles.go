package irc

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

const (
	doubleGhosts = 3 // virtual users of another bridge, named as those in the channel
	doubleNicks  = 500
)

// bridgeInfo is what bridges say of themselves in a room (MSC2346).
type bridgeInfo struct {
	Status   string     `json:"status"`
	Protocol bridgePart `json:"protocol"`
	Network  bridgePart `json:"network"`
	Channel  bridgePart `json:"channel"`
}

type bridgePart struct {
	ID   string `json:"id"`
	Name string `json:"displayname"`
	URL  string `json:"external_url"`
}

// isBridgeInfo tells whether an event says that a room is bridged.
func isBridgeInfo(eventType string) bool {
	return eventType == "m.bridge" || eventType == "uk.half-shot.bridge"
}

// Inspect implements bridge.Inspector: a room that another bridge has joined with a channel is not
// joined with it again.
func (s *Service) Inspect(ctx context.Context, p *bridge.Portal, room matrix.RoomID) error {
	n := s.network(p.Key().Network)
	if n == nil || p.Direct() {
		return nil
	}
	var state []*event.Event
	err := client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		state, err = s.bridge.Client().Bot().AllState(ctx, room)
		return err
	})
	if err != nil {
		return fmt.Errorf("look for other bridges: %w", err)
	}
	for _, e := range state {
		if n.otherBridge(p.Name(), e) {
			return matrix.RoomInUse("The room is bridged with %s already, by %s.", decode(p.Name()), e.Sender)
		}
	}
	return nil
}

// otherBridge tells whether an event says that somebody else bridges its room with a channel of this
// network.
func (n *network) otherBridge(channel string, e *event.Event) bool {
	if !isBridgeInfo(e.Type.Type) || matrix.UserID(e.Sender) == n.service.bridge.Client().Bot().ID {
		return false
	}
	raw, err := json.Marshal(e.Content.Raw)
	var info bridgeInfo
	if err != nil || json.Unmarshal(raw, &info) != nil || info.Status == "disabled" {
		return false
	}
	same := n.fold(info.Channel.ID) == n.fold(channel) || n.fold(info.Channel.Name) == n.fold(channel)
	return strings.EqualFold(info.Protocol.ID, "irc") && same && n.isCalled(info.Network)
}

// isCalled tells whether a network that another bridge names may be this one. One that it does not
// name may.
func (n *network) isCalled(part bridgePart) bool {
	if part == (bridgePart{}) {
		return true
	}
	for _, name := range []string{part.ID, part.Name} {
		if name != "" && (strings.EqualFold(name, n.config.ID) || strings.EqualFold(name, n.now().Name)) {
			return true
		}
	}
	at, err := url.Parse(part.URL)
	if err != nil || at.Hostname() == "" {
		return false
	}
	for _, addr := range n.now().addrs() {
		if host, _, err := net.SplitHostPort(addr); err == nil && strings.EqualFold(host, at.Hostname()) {
			return true
		}
	}
	return false
}

// noteBridge tells a room that another bridge has come to it, which joins it with the same channel.
func (n *network) noteBridge(ctx context.Context, e *client.Event) {
	p := n.service.bridge.FindRoom(matrix.RoomID(e.RoomID))
	if p == nil || p.Key().Network != n.config.ID || p.Direct() || !n.otherBridge(p.Name(), e.Event) {
		return
	}
	n.ask(ctx, func() {
		n.log.Error("another bridge joins the same room with the same channel", "channel", p.Name(), "room", p.Room(), "by", e.Sender)
		n.sayDirectly(p, fmt.Sprintf("%s bridges this room with %s too. Messages will come twice, or go round in circles, until one of the two bridges is gone from here.",
			e.Sender, decode(p.Name())))
	})
}

// lookForDoubles compares who is in a room that existed before its channel was bridged with who is in the
// channel: virtual users of another bridge have the same names. It is called on the loop, when the
// channel's members are known.
func (n *network) lookForDoubles(ch *channel) {
	if !ch.portal.Attached() || n.isShut(ch.key) {
		return
	}
	var nicks []string
	for u := range ch.members {
		if u.visible() && len(nicks) < doubleNicks {
			nicks = append(nicks, strings.ToLower(decode(u.nick)))
		}
	}
	room := ch.portal.Room()
	n.goRun(func() {
		members, err := n.service.bridge.Client().Bot().JoinedMembers(n.ctx, room)
		if err != nil {
			n.log.Info("nobody has looked for other bridges", "room", room, "err", err)
			return
		}
		for user := range members {
			if _, ours := n.service.Ghost(user); ours {
				delete(members, user)
			}
		}
		family, count := doubles(nicks, members)
		if count < doubleGhosts || 2*count < len(nicks) {
			return
		}
		n.post(func() {
			n.shutLink(ch, shutDouble, fmt.Sprintf("This room is not bridged with %s: another bridge does that already. %d of its virtual users (%s…) are here.",
				decode(ch.name), count, family))
		})
	})
}

// doubles is how the user IDs begin of those that are named after most of the nicks, and how many
// there are.
func doubles(nicks []string, members map[matrix.UserID]string) (family string, count int) {
	families := map[string]int{}
	for user := range members {
		local := strings.ToLower(user.Localpart())
		for _, nick := range nicks {
			start, ok := strings.CutSuffix(local, nick)
			if !ok || start == "" || !strings.ContainsAny(start[len(start)-1:], "_-.=/") {
				continue
			}
			key := "@" + start + " " + string(user.Server())
			families[key]++
			if families[key] > count || families[key] == count && key < family {
				family, count = key, families[key]
			}
			break
		}
	}
	family, _, _ = strings.Cut(family, " ")
	return family, count
}
