package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

var (
	// ErrNoKey means that a secret was sealed with a key that the file does not have.
	ErrNoKey = errors.New("the key to this secret is not in the key file")
	// ErrDamaged means that a secret was changed, or belongs somewhere else.
	ErrDamaged = errors.New("the sealed secret is damaged")
)

// A sealed secret is: version, the key's name, nonce, XChaCha20-Poly1305 of the secret.
const (
	version    = 1
	nameLength = 8
	header     = 1 + nameLength
	maxSecret  = 64 << 10
)

// A Vault seals with its first key and opens with any. It is safe for concurrent use.
type Vault struct{ keys []key }

type key struct {
	name   [nameLength]byte
	secret [chacha20poly1305.KeySize]byte
}

// Of makes a vault with one key, which comes from a secret that is kept elsewhere. The secret is not to be guessed.
func Of(secret []byte) *Vault {
	sum := sha256.Sum256(append([]byte("trestle vault\x00"), secret...))
	return &Vault{keys: []key{newKey(sum[:])}}
}

func newKey(secret []byte) key {
	var k key
	copy(k.secret[:], secret)
	sum := sha256.Sum256(append([]byte("trestle vault key\x00"), secret...))
	copy(k.name[:], sum[:])
	return k
}

// Seal makes a secret unreadable. It can be opened with the same place only, so that a
// secret that is copied to somebody else's row is of no use there.
func (v *Vault) Seal(secret []byte, place string) ([]byte, error) {
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("a secret of %d bytes is too long", len(secret))
	}
	k := v.keys[0]
	aead, err := chacha20poly1305.NewX(k.secret[:])
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, header+aead.NonceSize(), header+aead.NonceSize()+len(secret)+aead.Overhead())
	sealed[0] = version
	copy(sealed[1:], k.name[:])
	if _, err := rand.Read(sealed[header:]); err != nil {
		return nil, err
	}
	return aead.Seal(sealed, sealed[header:], secret, bound(sealed[:header], place)), nil
}

// Open makes a sealed secret readable: ErrNoKey or ErrDamaged if it cannot be.
func (v *Vault) Open(sealed []byte, place string) ([]byte, error) {
	if len(sealed) < header+chacha20poly1305.NonceSizeX || sealed[0] != version {
		return nil, ErrDamaged
	}
	for _, k := range v.keys {
		if !bytes.Equal(k.name[:], sealed[1:header]) {
			continue
		}
		aead, err := chacha20poly1305.NewX(k.secret[:])
		if err != nil {
			return nil, err
		}
		nonce, text := sealed[header:header+aead.NonceSize()], sealed[header+aead.NonceSize():]
		secret, err := aead.Open(nil, nonce, text, bound(sealed[:header], place))
		if err != nil {
			return nil, ErrDamaged
		}
		return secret, nil
	}
	return nil, ErrNoKey
}

// Current tells whether a secret is sealed with the first key, rather than one that is only
// kept to read what is old.
func (v *Vault) Current(sealed []byte) bool {
	return len(sealed) >= header && bytes.Equal(sealed[1:header], v.keys[0].name[:])
}

// bound is what is authenticated beside the secret.
func bound(header []byte, place string) []byte {
	return append(append([]byte{}, header...), place...)
}
