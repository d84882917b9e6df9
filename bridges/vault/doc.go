// Package vault seals secrets for storage. Its keys are in a file of their own, beside
// the database and not in it: who has only one of the two has nothing.
package vault
