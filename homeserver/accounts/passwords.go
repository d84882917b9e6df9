package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"trestle/internal/matrix"
)

// PasswordOptions say how passwords are hashed and which are accepted. Hashes
// of both algorithms are verified, whichever new ones use.
type PasswordOptions struct {
	Bcrypt     bool   // bcrypt instead of argon2id
	BcryptCost int    // default 12
	Memory     uint32 // of argon2id, KiB; default 19 MiB
	Iterations uint32 // of argon2id; default 2
	AtOnce     int    // hashes computed at the same time; default 2
	MinLength  int    // in characters; default 8
}

// maxPassword keeps anyone from making the server hash megabytes.
const maxPassword = 512

// passwords hashes passwords, only so many at a time: logins may be slow when
// there are many, but everything else must not be.
type passwords struct {
	options PasswordOptions
	slots   chan struct{}
	decoy   string
}

func newPasswords(o PasswordOptions) *passwords {
	if o.BcryptCost == 0 {
		o.BcryptCost = 12
	}
	if o.Memory == 0 {
		o.Memory = 19 << 10
	}
	if o.Iterations == 0 {
		o.Iterations = 2
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 2
	}
	if o.MinLength <= 0 {
		o.MinLength = 8
	}
	p := &passwords{options: o, slots: make(chan struct{}, o.AtOnce)}
	p.decoy = p.unmatched()
	return p
}

// unmatched is a hash that takes as long as others to compare with, and that no password is known to have. It
// is not computed, which would be a large part of the work of a start.
func (p *passwords) unmatched() string {
	if cost := p.options.BcryptCost; p.options.Bcrypt && cost <= bcrypt.MaxCost {
		if cost < bcrypt.MinCost {
			cost = bcrypt.DefaultCost // as in encode
		}
		return fmt.Sprintf("$2a$%02d$%.53s", cost, rand.Text()+rand.Text()+rand.Text())
	}
	random := make([]byte, argonSalt+argonKey)
	_, _ = rand.Read(random) // never fails
	return p.argon(random[:argonSalt], random[argonSalt:])
}

// check is M_WEAK_PASSWORD for passwords that nobody may choose.
func (p *passwords) check(password string) error {
	if n := utf8.RuneCountInString(password); n < p.options.MinLength {
		return matrix.NewError(http.StatusBadRequest, "M_WEAK_PASSWORD", "A password needs at least %d characters.", p.options.MinLength)
	}
	if len(password) > maxPassword {
		return matrix.InvalidParam("A password has at most %d bytes.", maxPassword)
	}
	return nil
}

// hash waits for its turn and computes the hash to store.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	return p.encode(password), nil
}

// verify waits for its turn and compares. Without a hash it takes the same
// time and says no, so that the time tells nobody who exists.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	if hash == "" || len(password) > maxPassword {
		matches(p.decoy, "")
		return false, nil
	}
	return matches(hash, password), nil
}

func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *passwords) leave() { <-p.slots }

const (
	// argonFormat is the PHC string format of argon2id hashes.
	argonFormat = "$argon2id$v=19$m=%d,t=%d,p=1$%s$%s"
	argonSalt   = 16 // bytes
	argonKey    = 32
)

var phcBase64 = base64.RawStdEncoding

func (p *passwords) encode(password string) string {
	if p.options.Bcrypt {
		hash, err := bcrypt.GenerateFromPassword(bcryptInput(password), p.options.BcryptCost)
		if err == nil {
			return string(hash)
		}
		// Only a cost out of range fails: argon2id serves as well.
	}
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	return p.argon(salt, argon2.IDKey([]byte(password), salt, p.options.Iterations, p.options.Memory, 1, argonKey))
}

func (p *passwords) argon(salt, key []byte) string {
	return fmt.Sprintf(argonFormat, p.options.Memory, p.options.Iterations, phcBase64.EncodeToString(salt), phcBase64.EncodeToString(key))
}

func matches(hash, password string) bool {
	if strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(hash), bcryptInput(password)) == nil
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false
	}
	var memory, iterations uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &iterations, &threads); err != nil {
		return false
	}
	salt, err := phcBase64.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := phcBase64.DecodeString(parts[5])
	if err != nil || len(want) == 0 || iterations == 0 || threads == 0 || memory > 1<<22 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, iterations, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// bcryptInput is the password, or, where bcrypt would refuse its length, a
// hash of it.
func bcryptInput(password string) []byte {
	if len(password) <= 72 {
		return []byte(password)
	}
	sum := sha256.Sum256([]byte(password))
	return []byte(phcBase64.EncodeToString(sum[:]))
}
