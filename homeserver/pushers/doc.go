// Package pushers tells users of notifications where no client of theirs is
// connected: by requests to push gateways, and by mail (Client-Server API §
// Push notifications, Push Gateway API). What is worth a notification is
// decided elsewhere; it alone sends them out.
//
// Each pusher has a cursor into the notifications of its user, which moves when
// the gateway or the relay has taken one: nothing is lost by a restart, and at
// most what was under way is sent once more.
package pushers
