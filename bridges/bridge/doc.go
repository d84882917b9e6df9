// Package bridge is what all bridges share: portals (a room and a channel that
// are one), virtual users, the durable queue towards Matrix, membership, commands
// and the tables for these. It knows no network; a [Remote] does.
package bridge
