package accounts

import (
	"trestle/homeserver/mail"
	"trestle/internal/matrix"
)

// SubmitTokenPath is where the links in mails lead.
const SubmitTokenPath = "/_trestle/client/verify"

// mailValues are what the mails below are filled in with.
type mailValues struct {
	Server matrix.ServerName
	Link   string
}

// The names of the mails.
const (
	verifyName  = "verify"
	resetName   = "reset"
	takenName   = "taken"
	unknownName = "unknown"
)

// MailKinds are the mails that this package sends, by their names.
func MailKinds() map[string]mail.Kind {
	sample := mailValues{Server: "example.org", Link: "https://matrix.example.org" + SubmitTokenPath}
	return map[string]mail.Kind{
		verifyName:  {Template: verifyMail, Sample: sample},
		resetName:   {Template: resetMail, Sample: sample},
		takenName:   {Template: takenMail, Sample: sample},
		unknownName: {Template: unknownMail, Sample: sample},
	}
}

// mail is the template of a mail, in the operator's words where there are any.
func (s *Service) mail(name string) *mail.Template {
	if t := s.options.Mails[name]; t != nil {
		return t
	}
	return MailKinds()[name].Template
}

var verifyMail = mail.MustTemplate(
	"Your address at {{.Server}}",
	`Somebody, probably you, has given this address to the Matrix server {{.Server}}.

Open this to confirm that it is yours:

{{.Link}}

If it was not you, do nothing: without your confirmation nothing happens.
`,
	`<!DOCTYPE html>
<p>Somebody, probably you, has given this address to the Matrix server <b>{{.Server}}</b>.</p>
<p><a href="{{.Link}}">Confirm that it is yours</a></p>
<p>If it was not you, do nothing: without your confirmation nothing happens.</p>
`)

var resetMail = mail.MustTemplate(
	"A new password at {{.Server}}",
	`Somebody, probably you, wants a new password for your account at the Matrix server {{.Server}}.

Open this to allow it:

{{.Link}}

If it was not you, do nothing: your password stays what it is.
`,
	`<!DOCTYPE html>
<p>Somebody, probably you, wants a new password for your account at the Matrix server <b>{{.Server}}</b>.</p>
<p><a href="{{.Link}}">Allow it</a></p>
<p>If it was not you, do nothing: your password stays what it is.</p>
`)

var takenMail = mail.MustTemplate(
	"Your address at {{.Server}}",
	`Somebody, probably you, has given this address to the Matrix server {{.Server}}. It belongs to an account there already, with which you can log in.

If it was not you, do nothing.
`,
	`<!DOCTYPE html>
<p>Somebody, probably you, has given this address to the Matrix server <b>{{.Server}}</b>. It belongs to an account there already, with which you can log in.</p>
<p>If it was not you, do nothing.</p>
`)

var unknownMail = mail.MustTemplate(
	"Your address at {{.Server}}",
	`Somebody, probably you, wants a new password for an account at the Matrix server {{.Server}} that has this address. There is none: perhaps it has another address, or you have not registered yet.

If it was not you, do nothing.
`,
	`<!DOCTYPE html>
<p>Somebody, probably you, wants a new password for an account at the Matrix server <b>{{.Server}}</b> that has this address. There is none: perhaps it has another address, or you have not registered yet.</p>
<p>If it was not you, do nothing.</p>
`)
