package config

import (
	"encoding/json"
	"net/mail"

	"trestle/internal/matrix"
)

// WellKnown is what is told at /.well-known/matrix, beside where the server is.
type WellKnown struct {
	// Client is further members of the file for clients: a JSON object.
	Client string `yaml:"client"`
	// Server is where other homeservers reach this one, as they are told beside the client API; empty: nothing is said.
	Server      string    `yaml:"server"`
	SupportPage string    `yaml:"support_page"`
	Contacts    []Contact `yaml:"contacts"`
}

// A Contact is somebody who administers the server: by one of both.
type Contact struct {
	MatrixID string `yaml:"matrix_id"`
	Email    string `yaml:"email"`
	Role     string `yaml:"role"`
}

// DefaultContact is what a contact is that says nothing but who it is.
func DefaultContact() Contact { return Contact{Role: "m.role.admin"} }

// ClientMembers are the members of Client by their names.
func (w WellKnown) ClientMembers() map[string]json.RawMessage {
	var members map[string]json.RawMessage
	if w.Client != "" {
		_ = json.Unmarshal([]byte(w.Client), &members) // was checked when it was read
	}
	return members
}

func (l *loader) validateWellKnown() {
	w := l.cfg.WellKnown
	if w.Client != "" {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(w.Client), &members) != nil || members == nil {
			l.invalidf("well_known.client", "is no JSON object")
		}
		if _, taken := members["m.homeserver"]; taken {
			l.invalidf("well_known.client", "m.homeserver is what public_base_url says")
		}
	}
	if w.Server != "" {
		if _, err := matrix.ParseServerName(w.Server); err != nil {
			l.invalidf("well_known.server", "%v", err)
		}
	}
	if w.SupportPage != "" && !isWebAddress(w.SupportPage) {
		l.invalidf("well_known.support_page", "%.80q is not a URL", w.SupportPage)
	}
	for i, c := range w.Contacts {
		where := item("well_known.contacts", i)
		if c.MatrixID == "" && c.Email == "" {
			l.invalidf(where, "needs a matrix_id or an email")
		}
		if c.MatrixID != "" {
			if _, err := matrix.ParseUserID(c.MatrixID); err != nil {
				l.invalidf(where+".matrix_id", "%v", err)
			}
		}
		if c.Email != "" {
			if a, err := mail.ParseAddress(c.Email); err != nil || a.Address != c.Email {
				l.invalidf(where+".email", "%.80q is not an address such as admin@example.org", c.Email)
			}
		}
		if c.Role == "" {
			l.invalidf(where+".role", "is empty; m.role.admin and m.role.security are known to clients")
		}
	}
}
