package wire

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// SASL is one run of a SASL mechanism.
type SASL interface {
	Mechanism() string
	Next(challenge []byte) (response []byte, err error)
}

// verifier is a mechanism in which the server has something to prove, too.
type verifier interface {
	// finished tells whether it has.
	finished() bool
}

// AnyOf is the first of the mechanisms that the server offers; the last one if it does not
// say what it has.
func AnyOf(mechanisms ...SASL) SASL { return &anyOf{mechanisms, mechanisms[len(mechanisms)-1]} }

type anyOf struct {
	all    []SASL
	chosen SASL
}

func (a *anyOf) Mechanism() string             { return a.chosen.Mechanism() }
func (a *anyOf) Next(c []byte) ([]byte, error) { return a.chosen.Next(c) }
func (a *anyOf) choose(offered []string) (ok bool) {
	for _, mechanism := range a.all {
		if slices.Contains(offered, mechanism.Mechanism()) {
			a.chosen = mechanism
			return true
		}
	}
	return false
}

func (a *anyOf) finished() bool {
	v, proves := a.chosen.(verifier)
	return !proves || v.finished()
}

// Plain is SASL PLAIN (RFC 4616).
func Plain(user, password string) SASL { return &plain{user, password} }

// External is SASL EXTERNAL: the TLS client certificate says who we are.
func External() SASL { return external{} }

type plain struct{ user, password string }

func (*plain) Mechanism() string { return "PLAIN" }

func (p *plain) Next([]byte) ([]byte, error) {
	if strings.Contains(p.user+p.password, "\x00") {
		return nil, errors.New("NUL in the account or password")
	}
	return []byte("\x00" + p.user + "\x00" + p.password), nil
}

type external struct{}

func (external) Mechanism() string           { return "EXTERNAL" }
func (external) Next([]byte) ([]byte, error) { return nil, nil }

const (
	saslChunk    = 400   // of base64 in one AUTHENTICATE; a shorter one is the last
	maxChallenge = 16384 // of base64 in all
)

// saslChunks are the parameters of AUTHENTICATE that carry a response.
func saslChunks(response []byte) []string {
	if len(response) == 0 {
		return []string{"+"}
	}
	var chunks []string
	rest := base64.StdEncoding.EncodeToString(response)
	for len(rest) >= saslChunk {
		chunks, rest = append(chunks, rest[:saslChunk]), rest[saslChunk:]
	}
	if rest == "" {
		rest = "+"
	}
	return append(chunks, rest)
}
