// Package serverapi is the Server-Server API: what other homeservers are told.
// Who asks is known by their signature, and is told what is meant for everybody:
// profiles, aliases, the directory of rooms, and media of this server.
package serverapi
