// Package walkthrough has tests only: they do what pages of the documentation
// tell a stranger to do, as it is written there.
package walkthrough
