// Package irc bridges IRC networks: a bot in every bridged channel, which sees
// what is said there, and a connection of its own for each Matrix user, from which
// that user speaks. It reaches the homeserver by HTTP only and works beside any.
package irc
