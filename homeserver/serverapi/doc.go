// Package serverapi is the Server-Server API: what other homeservers are told.
// Who asks is known by their signature, and is told what is meant for everybody:
// profiles, aliases, the directory of rooms, and media of this server. Of rooms
// they are told that have users of theirs in them, and they are how those users come in, leave, and
// invite others.
package serverapi
