// Package goclient has the end-to-end tests in which mautrix-go, with its
// cryptography in pure Go, is the client: encrypted rooms, verification,
// cross-signing and key backup. Every exchange is held to the specification.
package goclient
