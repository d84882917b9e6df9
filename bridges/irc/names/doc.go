// Package names translates names between IRC and Matrix: it folds IRC names by
// a network's case mapping, escapes them into Matrix localparts so that they
// can be had back byte for byte, and makes nicks out of Matrix names. It is
// pure: no I/O, no state.
package names
