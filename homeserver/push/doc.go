// Package push decides what an event means to a user: whether to notify, to
// highlight, with which sound (Client-Server API § Push Rules). It is pure:
// what rules need to know beside the event is handed to it.
package push
