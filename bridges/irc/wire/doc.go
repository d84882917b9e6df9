// Package wire is one thin connection to an IRC server: registration, SASL,
// capabilities, liveness, flood control, and lines that are exact to the byte.
// It knows the protocol and nothing of Matrix, keeps no list of members, and
// does not reconnect: its owner does.
//
// A connection has two goroutines. One reads, and calls the Handler; one
// writes, when there is something to write or to wait for. An idle connection
// costs about 15 KB, TLS aside, if it shares what the server says to all alike.
//
// Lines are taken apart by a parser of our own. The one of girc splits
// parameters at Unicode white space, so that a channel with U+3000 in its name becomes
// two parameters, and returns lines without a command; its encoder cuts what is too
// long, and its handlers, which would be the reason to use it, panic on numerics that are
// too short. On lines that girc can read, a fuzz test holds the two against each other.
package wire
