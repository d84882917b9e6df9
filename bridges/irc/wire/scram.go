package wire

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

const (
	// leastIterations is RFC 7677 § 4's: a server that asks for fewer wants to guess passwords.
	leastIterations = 4096
	// mostIterations bounds the work that a server can ask for, to about half a second.
	mostIterations = 1_000_000
	mostSalt       = 1024
	mostNonce      = 1024
)

// ScramSHA256 is SASL SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the
// server does not learn the password, and has to prove that it knows it.
func ScramSHA256(user, password string) SASL {
	return newScram("SCRAM-SHA-256", sha256.New, user, password)
}

// ScramSHA512 is SASL SCRAM-SHA-512.
func ScramSHA512(user, password string) SASL {
	return newScram("SCRAM-SHA-512", sha512.New, user, password)
}

// A scram is one run of the mechanism.
type scram struct {
	name           string
	hash           func() hash.Hash
	user, password string
	nonce          string // ours
	step           scramStep
	firstBare      string // client-first-message-bare
	signature      []byte // what the server has to show
}

type scramStep uint8

const (
	scramBegin    scramStep = iota
	scramFirst              // our first message is out
	scramFinal              // our proof is out
	scramVerified           // the server has shown that it knows the password
	scramFailed
)

func newScram(name string, hash func() hash.Hash, user, password string) *scram {
	return &scram{name: name, hash: hash, user: user, password: password, nonce: rand.Text()}
}

// Mechanism implements SASL.
func (s *scram) Mechanism() string { return s.name }

// Next implements SASL. After an error nothing makes the run succeed.
func (s *scram) Next(challenge []byte) (response []byte, err error) {
	step := s.step
	s.step = scramFailed
	switch step {
	case scramBegin:
		response, err = s.first(challenge)
	case scramFirst:
		response, err = s.prove(string(challenge))
	case scramFinal:
		err = s.verify(string(challenge))
	default:
		err = errors.New("SCRAM: a challenge too many")
	}
	if err == nil {
		s.step = step + 1
	}
	return response, err
}

// finished tells whether the server may say that we are in.
func (s *scram) finished() bool { return s.step == scramVerified }

func (s *scram) first(challenge []byte) ([]byte, error) {
	if len(challenge) > 0 {
		return nil, errors.New("SCRAM: a challenge before our first message")
	}
	user, err := saslprep(s.user)
	if err != nil || user == "" {
		return nil, fmt.Errorf("SCRAM: the account's name %w", errNotPrepared)
	}
	if s.password, err = saslprep(s.password); err != nil || s.password == "" {
		return nil, fmt.Errorf("SCRAM: the password %w", errNotPrepared)
	}
	s.firstBare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) + ",r=" + s.nonce
	return []byte("n,," + s.firstBare), nil
}

// prove takes the server's first message (RFC 5802 § 3).
func (s *scram) prove(serverFirst string) ([]byte, error) {
	from, err := parseServerFirst(serverFirst)
	if err != nil {
		return nil, err
	}
	if len(from.nonce) <= len(s.nonce) || !strings.HasPrefix(from.nonce, s.nonce) {
		return nil, errors.New("SCRAM: the server answers somebody else")
	}
	salted, err := pbkdf2.Key(s.hash, s.password, from.salt, from.iterations, s.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("SCRAM: %w", err)
	}
	clientKey := s.mac(salted, "Client Key")
	withoutProof := "c=biws,r=" + from.nonce // biws: "n,,", no channel binding
	message := s.firstBare + "," + serverFirst + "," + withoutProof
	stored := s.hash()
	stored.Write(clientKey)
	proof := s.mac(stored.Sum(nil), message)
	subtle.XORBytes(proof, proof, clientKey)
	s.signature = s.mac(s.mac(salted, "Server Key"), message)
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify takes the server's final message.
func (s *scram) verify(serverFinal string) error {
	signature, err := parseServerFinal(serverFinal)
	if err != nil {
		return err
	}
	if !hmac.Equal(signature, s.signature) {
		return errors.New("SCRAM: the server does not know the password")
	}
	return nil
}

func (s *scram) mac(key []byte, text string) []byte {
	mac := hmac.New(s.hash, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// serverFirst is the server's first message.
type serverFirst struct {
	nonce      string
	salt       []byte
	iterations int
}

// parseServerFirst reads RFC 5802 § 7's server-first-message. Its attributes have one order;
// an extension in front ("m=") is one that has to be understood, and there is none.
func parseServerFirst(message string) (serverFirst, error) {
	malformed := errors.New("SCRAM: malformed challenge")
	parts := strings.Split(message, ",")
	if len(parts) < 3 || len(parts) > 16 {
		return serverFirst{}, malformed
	}
	nonce, ok1 := strings.CutPrefix(parts[0], "r=")
	encoded, ok2 := strings.CutPrefix(parts[1], "s=")
	count, ok3 := strings.CutPrefix(parts[2], "i=")
	salt, err := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case !ok1 || !ok2 || !ok3 || err != nil || strings.ContainsAny(encoded, "\r\n"):
		return serverFirst{}, malformed
	case nonce == "" || len(nonce) > mostNonce || !printable(nonce):
		return serverFirst{}, malformed
	case len(salt) == 0 || len(salt) > mostSalt || !extensions(parts[3:]):
		return serverFirst{}, malformed
	}
	iterations, err := strconv.Atoi(count)
	if err != nil || strings.TrimLeft(count[:1], "123456789") != "" {
		return serverFirst{}, malformed
	}
	if iterations < leastIterations || iterations > mostIterations {
		return serverFirst{}, fmt.Errorf("SCRAM: %d iterations are not what a server should ask for", iterations)
	}
	return serverFirst{nonce, salt, iterations}, nil
}

// parseServerFinal reads RFC 5802 § 7's server-final-message.
func parseServerFinal(message string) (signature []byte, err error) {
	parts := strings.Split(message, ",")
	if reason, refused := strings.CutPrefix(parts[0], "e="); refused {
		return nil, fmt.Errorf("SCRAM: the server says %.40q", reason)
	}
	encoded, ok := strings.CutPrefix(parts[0], "v=")
	signature, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(parts) > 16 || !extensions(parts[1:]) || strings.ContainsAny(encoded, "\r\n") {
		return nil, errors.New("SCRAM: malformed end")
	}
	return signature, nil
}

// printable tells whether a nonce is one: visible ASCII but the comma.
func printable(nonce string) bool {
	for _, c := range []byte(nonce) {
		if c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return true
}

// extensions tells whether all are attributes: a letter, "=" and a value.
func extensions(parts []string) bool {
	for _, part := range parts {
		if len(part) < 3 || part[1] != '=' || strings.Contains(part, "\x00") {
			return false
		}
		if c := part[0] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}
