// Package architecture holds the tests that keep the shape of the tree: which
// package may import which, and that each says what it is. It has no code.
package architecture
