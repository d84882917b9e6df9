// Package ircv3 is an IRC server for tests, with the extensions that the servers of
// distributions lack: message-tags with msgid, echo-message, labeled-response, batch,
// server-time, account-tag, draft/message-redaction, draft/multiline, draft/relaymsg. It is simple and exact: what it
// offers it does as the specification says, and nothing else.
//
// A test starts one and talks to it over TCP:
//
//	s := ircv3.Start(t, ircv3.Options{CaseMapping: "ascii"})
//	bob := testkit.DialIRC(t, s.Addr, "bob", "CAP REQ :message-tags echo-message")
//	s.Refuse("#club", "520", "Cannot join channel (opers only)")
//	s.Forward("#old", "##new")      // a 470, and a JOIN that nobody asked for
//	s.Disconnect("bob")             // as a broken connection does
//	s.Handle("WHO", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) { … })
//	log := s.History("#trestle")    // what was said, oldest first, with msgid and time
//
// One lock guards everything. A command of the table in commands.go runs with it held and
// answers by [Client.Reply] (a numeric), [Client.Fail] (a standard reply), [Client.Send] (any
// message) and [Client.Batch]; what it says to the client that asked carries the label, in
// a batch if it is more than one message, by itself. [Server.tell] sends to a channel. Tags are
// left out for clients that have not asked for them, so that a command sets all it knows.
// To add an extension: a row in commands.go, its name in capabilities (caps.go), its
// tokens in Server.support.
package ircv3
