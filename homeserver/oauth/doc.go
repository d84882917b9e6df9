// Package oauth knows what the OAuth 2.0 API demands of clients: their
// metadata, redirect URIs, scopes and proofs (Client-Server API § OAuth 2.0
// API). It decides, and stores nothing.
package oauth
