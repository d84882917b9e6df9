package wire

import (
	"encoding/base64"
	"errors"
	"strings"
)

// SASL is one run of a SASL mechanism.
type SASL interface {
	Mechanism() string
	Next(challenge []byte) (response []byte, err error)
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
