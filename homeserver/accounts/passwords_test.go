package accounts

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// What is compared with for people who do not exist costs as much as what is stored for those who do.
func TestUnmatchedCostsTheSame(t *testing.T) {
	t.Parallel()
	for _, options := range []PasswordOptions{
		{}, {Memory: 64, Iterations: 1}, {Bcrypt: true, BcryptCost: bcrypt.MinCost}, {Bcrypt: true, BcryptCost: 1}, {Bcrypt: true, BcryptCost: bcrypt.MaxCost + 1},
	} {
		p := newPasswords(options)
		stored := p.encode("correct horse")
		if len(p.decoy) != len(stored) || p.decoy == p.unmatched() {
			t.Errorf("%+v: %q beside %q", options, p.decoy, stored)
		}
		if cost, err := bcrypt.Cost([]byte(stored)); err == nil {
			if decoy, err := bcrypt.Cost([]byte(p.decoy)); err != nil || decoy != cost {
				t.Errorf("%+v: a decoy of cost %d (%v), not %d", options, decoy, err, cost)
			}
			if err := bcrypt.CompareHashAndPassword([]byte(p.decoy), nil); err != bcrypt.ErrMismatchedHashAndPassword {
				t.Errorf("%+v: comparing says %v", options, err)
			}
			continue
		}
		settings := func(hash string) string { return strings.Join(strings.Split(hash, "$")[:4], "$") }
		if settings(p.decoy) != settings(stored) {
			t.Errorf("%+v: %q beside %q", options, p.decoy, stored)
		}
	}
}
