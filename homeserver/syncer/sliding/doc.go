// Package sliding answers simplified sliding sync (MSC4186): a client names the
// rooms that it looks at, as windows into lists or one by one, and is sent those
// only, each whole once and afterwards what is new. What a client was sent is
// kept in memory; a client whose connection is forgotten begins anew.
package sliding
