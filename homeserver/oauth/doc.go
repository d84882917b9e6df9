// Package oauth is the OAuth 2.0 API (Client-Server API § OAuth 2.0 API):
// applications register, people allow them in their browsers to be a device,
// and codes become tokens. It hands out no token itself: accounts does.
package oauth
