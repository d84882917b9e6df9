// Package mail sends mails of the server through a relay. It is the only
// package that speaks SMTP for the homeserver, and keeps no queue: whoever
// waits for a mail is told when it could not be handed over.
package mail
