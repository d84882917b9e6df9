// Package accounts is the only writer of local users and of what belongs to
// them: passwords, devices, tokens, profiles, account data, filters and push
// rules. It verifies who makes a request.
package accounts
