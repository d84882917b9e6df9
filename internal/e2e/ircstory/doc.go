// Package ircstory holds what Trestle is for as tests: people on a real IRC
// server and people with a stock Matrix client talk with each other, whatever
// dies meanwhile.
package ircstory
