package wire

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestScramVector is the example of RFC 7677 § 3.
func TestScramVector(t *testing.T) {
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	s := ScramSHA256("user", "pencil").(*scram)
	s.nonce = "rOprNGfwEbeRWgbNEkqO"
	for _, step := range []struct{ challenge, response string }{
		{"", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"},
		{
			"r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		},
		{"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ""},
	} {
		if s.finished() {
			t.Error("finished too early")
		}
		got, err := s.Next([]byte(step.challenge))
		if err != nil || string(got) != step.response {
			t.Fatalf("answer to %q: %q, %v", step.challenge, got, err)
		}
	}
	if !s.finished() {
		t.Error("not finished")
	}
	if _, err := s.Next(nil); err == nil || s.finished() {
		t.Error("the run goes on after its end")
	}
}

func TestScramRefuses(t *testing.T) {
	const start = "r=NONCEmore,s=c2FsdA==,i=4096"
	for name, challenges := range map[string][]string{
		"a challenge first":     {"hello"},
		"nothing":               {"", ""},
		"another nonce":         {"", "r=XNONCEmore,s=c2FsdA==,i=4096"},
		"no nonce of its own":   {"", "r=NONCE,s=c2FsdA==,i=4096"},
		"another order":         {"", "s=c2FsdA==,r=NONCEmore,i=4096"},
		"an extension it needs": {"", "m=x," + start},
		"a bad salt":            {"", "r=NONCEmore,s=c2Fsd,i=4096"},
		"no salt":               {"", "r=NONCEmore,s=,i=4096"},
		"too few iterations":    {"", "r=NONCEmore,s=c2FsdA==,i=4095"},
		"too many":              {"", "r=NONCEmore,s=c2FsdA==,i=2147483647"},
		"not a number":          {"", "r=NONCEmore,s=c2FsdA==,i=+4096"},
		"leading zero":          {"", "r=NONCEmore,s=c2FsdA==,i=04096"},
		"no number":             {"", "r=NONCEmore,s=c2FsdA==,i="},
		"control in the nonce":  {"", "r=NONCE\x01,s=c2FsdA==,i=4096"},
		"refusal":               {"", start, "e=invalid-proof"},
		"wrong signature":       {"", start, "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"no signature":          {"", start, "v="},
		"nothing at the end":    {"", start, ""},
	} {
		s := ScramSHA256("user", "pencil").(*scram)
		s.nonce = "NONCE"
		var err error
		for i, challenge := range challenges {
			if _, err = s.Next([]byte(challenge)); err != nil && i != len(challenges)-1 {
				t.Errorf("%s: failed at %d: %v", name, i, err)
			}
		}
		if err == nil || s.finished() {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, s := range []SASL{ScramSHA512("", "x"), ScramSHA512("x", ""), ScramSHA512("x", "a\x07b"), ScramSHA512("x\xff", "a")} {
		if _, err := s.Next(nil); err == nil {
			t.Error("credentials that cannot be prepared are accepted")
		}
	}
	if got, err := ScramSHA512("a=b,c", "x").Next(nil); err != nil || !strings.HasPrefix(string(got), "n,,n=a=3Db=2Cc,r=") {
		t.Errorf("a name with the two: %q, %v", got, err)
	}
}

// TestSASLprep has RFC 4013 § 3's examples, and some of RFC 3454's rules.
func TestSASLprep(t *testing.T) {
	for in, want := range map[string]string{
		"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX",
		"a\u00a0b\u3000c": "a b c", "\u0627\u0628": "\u0627\u0628", "\u06271\u0628": "\u06271\u0628", "🦊": "🦊",
	} {
		if got, err := saslprep(in); err != nil || got != want {
			t.Errorf("%q became %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"\u0007", "\u06271", "a\u0627", "\u0627a\u0628", "\ue000", "\ufffd", "\u200e", "\U0001ffff", "\u0378", "\xff"} {
		if got, err := saslprep(in); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func FuzzScramServer(f *testing.F) {
	f.Add("r=NONCEmore,s=c2FsdA==,i=4096", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
	f.Add("m=x,r=NONCEmore,s=c2FsdA==,i=4096", "e=other-error")
	f.Add("r=NONCE,s=,i=99999999999999999999,a=b", "v=,")
	f.Fuzz(func(t *testing.T, first, final string) {
		if from, err := parseServerFirst(first); err == nil {
			if from.iterations < leastIterations || from.iterations > mostIterations || len(from.salt) == 0 || !printable(from.nonce) {
				t.Errorf("%q was accepted as %+v", first, from)
			}
			if from.iterations > 2*leastIterations {
				return
			}
		}
		s := ScramSHA256("user", "pencil").(*scram)
		s.nonce = "NONCE"
		for _, challenge := range []string{"", first, final} {
			if _, err := s.Next([]byte(challenge)); err != nil {
				break
			}
		}
		if s.finished() {
			t.Errorf("%q and %q prove that the server knows the password", first, final)
		}
	})
}
