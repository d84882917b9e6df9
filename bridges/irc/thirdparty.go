package irc

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"trestle/appservice"
	"trestle/bridges/irc/names"
	"trestle/internal/matrix"
)

// lookUpWait bounds how long a look-up may wait for a network's loop.
const lookUpWait = 2 * time.Second

// protocolIRC is the name of the protocol in look-ups.
const protocolIRC = "irc"

// fieldTypes are the fields of look-ups, as the specification's example has them.
var fieldTypes = map[string]json.RawMessage{
	"network":  json.RawMessage(`{"regexp":"[^ ]+","placeholder":"libera"}`),
	"nickname": json.RawMessage(`{"regexp":"[^ !@]+","placeholder":"alice"}`),
	"channel":  json.RawMessage(`{"regexp":"[#&+!][^ ,]+","placeholder":"#trestle"}`),
}

// Protocol implements client.ThirdParty.
func (s *Service) Protocol(_ context.Context, protocol string) (*appservice.Protocol, error) {
	if protocol != protocolIRC {
		return nil, nil
	}
	p := &appservice.Protocol{
		UserFields: []string{"network", "nickname"}, LocationFields: []string{"network", "channel"}, FieldTypes: fieldTypes,
	}
	for _, n := range s.all() {
		p.Instances = append(p.Instances, appservice.Instance{
			NetworkID: n.config.ID, Desc: n.now().Name, Icon: n.config.Icon, Fields: fieldsOf("network", n.config.ID),
		})
	}
	return p, nil
}

// Users implements client.ThirdParty: the virtual user of a nick, on one network or on each. Whether
// there is such a nick, it does not tell.
func (s *Service) Users(_ context.Context, protocol string, fields map[string]string) (found []appservice.User, err error) {
	nick := fields["nickname"]
	if protocol != protocolIRC || !names.ValidNick(nick) || len(nick) > maxTarget {
		return nil, nil
	}
	for _, n := range s.named(fields["network"]) {
		found = append(found, appservice.User{
			UserID: n.ghost(nick).ID, Protocol: protocolIRC, Fields: fieldsOf("network", n.config.ID, "nickname", nick),
		})
	}
	return found, nil
}

// Locations implements client.ThirdParty: the alias of a channel, on one network or on each. It is
// the same whether or not there is such a channel, or a secret one, so that nothing can be learnt from it.
func (s *Service) Locations(ctx context.Context, protocol string, fields map[string]string) (found []appservice.Location, err error) {
	channel := fields["channel"]
	if protocol != protocolIRC || channel == "" || len(channel) > maxTarget || strings.ContainsAny(channel, " ,\x00\a\r\n") {
		return nil, nil
	}
	if !strings.ContainsRune("#&+!", rune(channel[0])) {
		channel = "#" + channel
	}
	for _, n := range s.named(fields["network"]) {
		for _, alias := range append([]matrix.RoomAlias{n.aliasOf(channel)}, n.ownAliases(ctx, channel)...) {
			if _, err := matrix.ParseRoomAlias(string(alias)); err == nil {
				found = append(found, n.location(alias, channel))
			}
		}
	}
	return found, nil
}

// UserByID implements client.ThirdParty.
func (s *Service) UserByID(_ context.Context, user matrix.UserID) ([]appservice.User, error) {
	n, nick := s.whose(user)
	if n == nil || user.Server() != s.config.ServerName {
		return nil, nil
	}
	return []appservice.User{{
		UserID: user, Protocol: protocolIRC, Fields: fieldsOf("network", n.config.ID, "nickname", decode(nick)),
	}}, nil
}

// LocationByAlias implements client.ThirdParty.
func (s *Service) LocationByAlias(ctx context.Context, alias matrix.RoomAlias) ([]appservice.Location, error) {
	if alias.Server() != s.config.ServerName {
		return nil, nil
	}
	for _, n := range s.all() {
		if channel, ok := n.mapped(alias); ok && !n.secret(ctx, channel) {
			return []appservice.Location{n.location(alias, channel)}, nil
		}
	}
	for _, n := range s.all() {
		if channel, ok := n.templates.channel(alias.Localpart()); ok {
			return []appservice.Location{n.location(alias, channel)}, nil
		}
	}
	return nil, nil
}

func (n *network) location(alias matrix.RoomAlias, channel string) appservice.Location {
	return appservice.Location{Alias: alias, Protocol: protocolIRC, Fields: fieldsOf("network", n.config.ID, "channel", decode(channel))}
}

// named are the networks that a look-up is about.
func (s *Service) named(name string) []*network {
	if name == "" {
		return s.all()
	}
	if n := s.networkAt(name); n != nil {
		return []*network{n}
	}
	return nil
}

// ownAliases are those that the operator has given to a channel. They say that there is one.
func (n *network) ownAliases(ctx context.Context, channel string) (aliases []matrix.RoomAlias) {
	for _, m := range n.now().Mappings {
		if m.Alias != "" && n.fold(m.Channel) == n.fold(channel) && !n.secret(ctx, channel) {
			aliases = append(aliases, m.Alias)
		}
	}
	return aliases
}

// secret tells whether a channel is to be in no list. What is not known is.
func (n *network) secret(ctx context.Context, channel string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookUpWait)
	defer cancel()
	open := make(chan bool, 1)
	if !n.running() || !n.ask(ctx, func() {
		ch := n.known(channel)
		open <- ch != nil && ch.told && !ch.unlisted()
	}) {
		return true
	}
	return !<-open
}

func fieldsOf(pairs ...string) json.RawMessage {
	fields := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err) // strings always encode
	}
	return raw
}
