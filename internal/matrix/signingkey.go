package matrix

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
)

// A SigningKey is an ed25519 key of a server, and its ID, such as "ed25519:1".
type SigningKey struct {
	ID      KeyID
	Private ed25519.PrivateKey
}

// NewSigningKey makes a key with an ID that no other key of the server will have.
func NewSigningKey() (SigningKey, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return SigningKey{}, fmt.Errorf("generate signing key: %w", err)
	}
	return SigningKey{ID: KeyID("ed25519:a_" + RandomString(6)), Private: private}, nil
}

// ParseSigningKey reads what [SigningKey.Encode] wrote: algorithm, identifier
// and seed in base64 on one line. Other homeservers keep their keys the same
// way, so that an operator can bring his along.
func ParseSigningKey(line string) (SigningKey, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "ed25519" {
		return SigningKey{}, errors.New("a signing key is one line with ed25519, an identifier and the key in base64")
	}
	for _, c := range []byte(fields[1]) {
		if !isAlnum(c) && c != '_' {
			return SigningKey{}, fmt.Errorf("the identifier of a signing key may not contain %q", c)
		}
	}
	seed, err := DecodeBase64(fields[2])
	if err != nil || len(seed) != ed25519.SeedSize {
		return SigningKey{}, fmt.Errorf("the signing key %s is not %d bytes in base64", fields[1], ed25519.SeedSize)
	}
	return SigningKey{ID: KeyID("ed25519:" + fields[1]), Private: ed25519.NewKeyFromSeed(seed)}, nil
}

// Encode is the key as a line of a file. Keep it secret.
func (k SigningKey) Encode() string {
	return fmt.Sprintf("ed25519 %s %s\n", strings.TrimPrefix(string(k.ID), "ed25519:"), Base64(k.Private.Seed()))
}

// Public is the half that others verify with.
func (k SigningKey) Public() ed25519.PublicKey {
	return k.Private.Public().(ed25519.PublicKey)
}

// String is the key's ID: a key that ends up in a log gives nothing away.
func (k SigningKey) String() string { return string(k.ID) }
