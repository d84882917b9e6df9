// Package browser has the end-to-end tests in Chromium: the server's own pages
// for people, with and without scripts, and Hydrogen, a client for the web, as
// it is published.
package browser
