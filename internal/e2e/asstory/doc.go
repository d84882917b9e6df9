// Package asstory has tests only: whole stories of application services and a
// homeserver, each a process of its own that can die at any moment; and bridges
// made with mautrix-go, as their authors would make them, with encryption.
package asstory
