package irc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// plumbCommands are those about rooms of others.
func (s *Service) plumbCommands() []bridge.Command {
	return []bridge.Command{
		{Name: "plumb", Args: "[NETWORK] #CHANNEL [KEY] [in ROOM] [by NICK]", Help: "asks an operator of a channel, or the one with this nick, whether this room may be linked with it", Run: s.commandPlumb},
		{Name: "unlink", Also: []string{"unplumb"}, Args: "[in ROOM]", Help: "ends the link of this room with a channel", Run: s.commandUnlink},
		{Name: "widget", Help: "puts a page into this room that shows its links, and asks for more", Run: s.commandWidget},
	}
}

// option takes "word VALUE" off the end of the arguments.
func option(args []string, word string) (value string, rest []string) {
	if n := len(args); n >= 2 && args[n-2] == word {
		return args[n-1], args[:n-2]
	}
	return "", args
}

// roomOf is the room that a command is about: the one in which it is said, unless that is a chat with
// the bridge.
func (s *Service) roomOf(ctx context.Context, call *bridge.Call, named string) (string, error) {
	switch {
	case named == "here", named == "" && s.private(ctx, call) != nil:
		return string(call.Room), nil
	case named == "":
		return "", matrix.MissingParam("Say which room: in !id:server, or in #alias:server. If you mean this one: in here.")
	}
	return named, nil
}

// roomFirst takes arguments apart that begin with a room and a network, as other bridges have it:
// ROOM NETWORK #CHANNEL.
func (s *Service) roomFirst(call *bridge.Call) (room string, n *network, channel string, ok bool) {
	if len(call.Args) != 3 || !strings.ContainsRune("!#", rune(call.Args[0][0])) || !strings.Contains(call.Args[0], ":") {
		return "", nil, "", false
	}
	n = s.networkAt(call.Args[1])
	return call.Args[0], n, call.Args[2], n != nil
}

func (s *Service) commandPlumb(ctx context.Context, call *bridge.Call) (string, error) {
	if room, n, channel, ok := s.roomFirst(call); ok {
		call.Args = []string{n.config.ID, channel, "in", room}
	}
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	nick, args := option(args, "by")
	named, args := option(args, "in")
	if nick == "" {
		nick, args = option(args, "by")
	}
	if len(args) < 1 || len(args) > 2 {
		return "", matrix.MissingParam("Say which channel: plumb #channel, and its key if it has one.")
	}
	room, err := s.roomOf(ctx, call, named)
	if err != nil {
		return "", err
	}
	w := plumbWish{by: call.Sender, room: room, tell: call.Room, network: n, channel: args[0], operator: nick}
	if len(args) == 2 {
		w.key = args[1]
	}
	one, err := s.plumb(ctx, w)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("I have asked on %s whether %s may be linked. An operator of the channel has %s to answer.",
		n.now().Name, args[0], time.Until(time.UnixMilli(one.Until)).Round(time.Second)), nil
}

func (s *Service) commandUnlink(ctx context.Context, call *bridge.Call) (string, error) {
	named, rest := option(call.Args, "in")
	room, n, channel, exactly := s.roomFirst(call)
	if exactly {
		named, rest = room, nil
	}
	room, err := s.roomOf(ctx, call, named)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(room, "#") {
		resolved, err := s.bridge.Client().Bot().Resolve(ctx, matrix.RoomAlias(room))
		if err != nil {
			return "", matrix.NotFound("There is no room %.255s.", room)
		}
		room = string(resolved)
	}
	if len(rest) > 2 {
		return "", matrix.MissingParam("Say no more than: unlink, or unlink in !id:server.")
	}
	if one, linked := s.plumbs.ofRoom(matrix.RoomID(room)); exactly && linked && one.key() != n.key(channel) {
		return "", matrix.NotFound("The room is not linked with %.200s on %s.", channel, n.now().Name)
	}
	one, err := s.unlinkBy(ctx, call.Sender, matrix.RoomID(room))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("This has ended the link with %s.", decode(string(one.Name))), nil
}

// unlinkBy ends a room's link for a moderator of the room, or an operator of the bridge.
func (s *Service) unlinkBy(ctx context.Context, user matrix.UserID, room matrix.RoomID) (plumb, error) {
	one, ok := s.plumbs.ofRoom(room)
	n := s.network(one.Network)
	if !ok || n == nil || one.State == plumbEnding {
		return plumb{}, matrix.NotFound("No channel is linked with the room, nor was somebody asked for one.")
	}
	if !slices.Contains(s.config.Admins, string(user)) {
		l, err := s.lodging(ctx, room)
		if err != nil {
			return plumb{}, err
		}
		if err := l.moderates(user, n); err != nil {
			return plumb{}, err
		}
	}
	return one, n.unlink(ctx, one, string(user)+" has ended the link with "+decode(string(one.Name))+".")
}
