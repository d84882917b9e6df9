// Package clientapi is the Client-Server API: a table of routes for each module
// of the specification, whose handlers read the request, ask a service and
// answer. Decisions are the services'.
package clientapi
