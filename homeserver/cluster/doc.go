// Package cluster has several processes serve one database: one leads and does
// all the work, the others pass on what they are asked. It is the HTTP between
// them; who leads is decided by internal/database.
package cluster

import (
	"crypto/sha256"
	"crypto/subtle"
)

// A Leader is who serves.
type Leader struct {
	Epoch   int64  // counts leaders
	Address string // host:port; empty: there is none
	Secret  string // shows that a request comes from one of the processes
}

// The headers of requests between processes. Those of clients by these names are
// replaced on the way, and mean nothing elsewhere.
const (
	secretHeader   = "Trestle-Cluster-Secret"
	peerHeader     = "Trestle-Cluster-Peer"     // who has connected to the other process
	schemeHeader   = "Trestle-Cluster-Scheme"   // how
	entranceHeader = "Trestle-Cluster-Entrance" // at which of its listeners
	// refusedHeader is in the answer of a process that does not lead: it has
	// done nothing.
	refusedHeader = "Trestle-Cluster-Refused"
)

// An Entrance is one of the listeners that every process has.
type Entrance string

// The entrances.
const (
	Clients    Entrance = "clients"
	Federation Entrance = "federation"
)

// same compares secrets in a time that tells nothing.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
