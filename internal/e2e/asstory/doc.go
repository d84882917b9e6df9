// Package asstory has tests only: whole stories of application services and a
// homeserver, each a process of its own that can die at any moment.
package asstory
