// Package client is the application service's side of the AS API: it listens
// for transactions, stores each before it acknowledges it, hands the events out
// in order for each room, and acts as the users of the service's namespace. It
// works beside any homeserver.
package client
