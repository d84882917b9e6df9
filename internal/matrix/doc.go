// Package matrix is the vocabulary that every other package speaks: IDs,
// events, errors, canonical JSON, hashes and signatures. It does no I/O.
package matrix
