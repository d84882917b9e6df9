package irc

// unlisted tells whether a channel is in no list of IRC's, and so in none of Matrix.
func (ch *channel) unlisted() bool { return ch.is('s') || ch.is('p') }

// followListing takes the room of a channel that has become secret out of the directory of public rooms,
// at once, and puts that of one that no longer is back, where rooms are published.
func (n *network) followListing(ch *channel) {
	switch {
	case ch == nil || ch.portal == nil || !ch.joined:
	case ch.unlisted():
		ch.portal.Hide()
	default:
		ch.portal.Unhide(n.now().Published)
	}
}
