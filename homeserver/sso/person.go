package sso

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"trestle/internal/claims"
	"trestle/internal/matrix"
)

// A person is who a provider says somebody is.
type person struct {
	Subject     string `json:"subject"`
	LocalPart   string `json:"local_part,omitempty"`
	DisplayName string `json:"display_name,omitempty"`
	Email       string `json:"email,omitempty"` // verified there
}

// person is what the operator wants to know of what a provider says;
// M_FORBIDDEN for people who are not let in.
func (p *provider) person(said claims.Claims) (*person, error) {
	for _, r := range p.options.Require {
		if !said.Holds(r.Claim, r.Value) {
			return nil, matrix.Forbidden("You may not log in here with your account at %s.", p.options.Name)
		}
	}
	who := &person{
		Subject: said.Text("sub"), LocalPart: p.options.LocalPart.Apply(said), DisplayName: p.options.DisplayName.Apply(said),
	}
	if said.True("email_verified") {
		who.Email = p.options.Email.Apply(said)
	}
	return who, nil
}

// maxSuggestion bounds a local part that is suggested, in bytes.
const maxSuggestion = 64

// suggestion is a local part that is made of a text: in small letters without
// their marks, and nothing that a user ID cannot have.
func suggestion(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case unicode.IsSpace(r):
			return '_'
		case !matrix.ValidLocalpart(string(r)):
			return -1
		}
		return r
	}, strings.ToLower(norm.NFKD.String(text)))
	return text[:min(len(text), maxSuggestion)]
}
