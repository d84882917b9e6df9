package irc

import (
	"context"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// upgradeGrace is how long those who were in a room that was replaced stay in the channel without being
// in the new one.
const upgradeGrace = 10 * time.Minute

// Rehouse implements bridge.Rehouser: the consent of a channel's operator goes with the room, whose people have
// decided that it is another now. Whether everybody can read that, is asked before anything is sent there.
func (s *Service) Rehouse(ctx context.Context, key bridge.Key, old, to matrix.RoomID, commit func(func(*database.Tx) error) error) error {
	one, ok := s.plumbs.ofRoom(old)
	if !ok || one.key() != key || !one.lodged() {
		return matrix.Forbidden("The link of the room is ending.")
	}
	_, err := s.plumbs.move(ctx, one.ID, []string{plumbGranted, plumbLinked}, func(p *plumb) { p.Room = to }, func(p plumb) error {
		return commit(func(tx *database.Tx) error { return p.store(ctx, tx) })
	})
	return err
}

// Moved implements bridge.Mover: the new room gets what the channel has.
func (s *Service) Moved(p *bridge.Portal, before map[matrix.UserID]string) {
	n := s.network(p.Key().Network)
	if n == nil || p.Direct() {
		return
	}
	n.post(func() {
		if ch := n.known(p.Key().Channel); ch != nil && ch.synced {
			ch.showMembers()
			p.SetTopic(ch.topic, time.Now())
			p.SetRights(n.rights(ch), true)
			n.followListing(ch)
		}
		for user, name := range p.People() {
			if !p.Plumbed() { // there, who only reads has no connection
				n.personJoined(p, user, name)
			}
		}
	})
	n.after(upgradeGrace, func() {
		people := p.People()
		for user := range before {
			if _, here := people[user]; !here {
				n.personLeft(p, user, "The room was replaced")
			}
		}
	})
}
