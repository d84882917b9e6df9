// Package preview says what pages are about, for clients that show the links
// in messages. It is the only part of the content repository that fetches what
// users name, and does so behind a guard.
package preview
