// Package discovery finds homeservers by their names and connects to them
// (Server-Server API § Server discovery and § TLS). A [Transport] is all that
// others need of it: an http.RoundTripper for URLs whose host is a server name.
//
// Names are chosen by strangers. Every connection goes through the guard of
// package outbound, whatever DNS or a well-known file says, and what is
// answered is bounded in size, time and redirects.
package discovery
