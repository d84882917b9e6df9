// Package predecessor reads what matrix-appservice-irc leaves behind when a community moves: its
// configuration, of which it makes one of ours, and its PostgreSQL store. It only reads.
package predecessor
