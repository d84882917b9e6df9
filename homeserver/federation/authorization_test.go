package federation

import (
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestAuthorizationHeaders(t *testing.T) {
	whole := Authorization{"origin.example:8448", "here.example", "ed25519:a_1", "c2ln/+A"}
	for header, want := range map[string]Authorization{
		whole.String(): whole,
		`X-Matrix origin="origin.example:8448",destination="here.example",key="ed25519:a_1",sig="c2ln/+A"`:               whole,
		"x-matrix   Origin=origin.example:8448 ,\tDESTINATION=\"here.example\" , key=ed25519:a_1,sig=\"c2ln/+A\",x=y":    whole,
		`X-Matrix sig="c\2ln\/+A",key="ed25519:a\_1",origin="origin.example:8448",destination="here.example",a="\"\\,="`: whole,
		`X-Matrix origin=origin.example:8448,key=ed25519:a_1,sig=c2ln/+A`:                                                {"origin.example:8448", "", "ed25519:a_1", "c2ln/+A"},
		`X-Matrix origin="[2001:db8::1]:8448",key="ed25519:1",sig="x"`:                                                   {"[2001:db8::1]:8448", "", "ed25519:1", "x"},
	} {
		if got, err := ParseAuthorization(header); err != nil || got != want {
			t.Errorf("%s: %+v %v", header, got, err)
		}
	}
	for _, header := range []string{
		"", "X-Matrix", "X-Matrix ", "Bearer x", `X-Matrix origin="a",key="ed25519:1",sig=""`, `X-Matrix origin="a",key="ed25519:1"`,
		`X-Matrix origin="a",sig="x"`, `X-Matrix key="ed25519:1",sig="x"`, `X-Matrix origin="a b",key="ed25519:1",sig="x"`,
		`X-Matrix origin="a",key="rsa:1",sig="x"`, `X-Matrix origin="a",key="ed25519:",sig="x"`, `X-Matrix origin="a",key="ed25519:é",sig="x"`,
		`X-Matrix origin="a",origin="b",key="ed25519:1",sig="x"`, `X-Matrix origin="a",key="ed25519:1",sig="x",`,
		`X-Matrix origin="a",key="ed25519:1",sig="x`, `X-Matrix origin="a",key="ed25519:1",sig="x\`, `X-Matrix origin="a" key="ed25519:1",sig="x"`,
		`X-Matrix origin="a",destination="",key="ed25519:1",sig="x"`, `X-Matrix ="a"`, `X-Matrixorigin="a",key="ed25519:1",sig="x"`,
		`X-Matrix origin="a",key="ed25519:1",sig="` + strings.Repeat("x", maxAuthorization) + `"`,
	} {
		if got, err := ParseAuthorization(header); err == nil {
			t.Errorf("%.100s: %+v", header, got)
		}
	}
}

// A signature is about all of the request, and nothing of it can be changed.
func TestRequestSignatures(t *testing.T) {
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	request := SignedRequest{"PUT", "/_matrix/federation/v1/send/1?a=%20&b", "origin.example", "here.example", []byte(`{"b": 1, "a": "<>é"}`)}
	a, err := request.sign(key)
	if err != nil {
		t.Fatal(err)
	}
	same := request
	same.Content = []byte(`{"a":"\u003c\u003e\u00e9","b":1}`)
	if err := same.verify(a, key.Public()); err != nil {
		t.Errorf("the same content in other words: %v", err)
	}
	for what, change := range map[string]func(*SignedRequest){
		"method":      func(r *SignedRequest) { r.Method = "POST" },
		"path":        func(r *SignedRequest) { r.URI = "/_matrix/federation/v1/send/1?a= &b" },
		"origin":      func(r *SignedRequest) { r.Origin = "other.example" },
		"destination": func(r *SignedRequest) { r.Destination = "other.example" },
		"content":     func(r *SignedRequest) { r.Content = []byte(`{"b":2,"a":"<>é"}`) },
		"no content":  func(r *SignedRequest) { r.Content = nil },
		"no JSON":     func(r *SignedRequest) { r.Content = []byte(`{"b":`) },
		"other JSON":  func(r *SignedRequest) { r.Content = []byte(`{"b":1,"a":"<>é"},"method":"PUT"`) },
	} {
		changed := request
		change(&changed)
		if changed.verify(a, key.Public()) == nil {
			t.Errorf("another %s passes", what)
		}
	}
	other, _ := matrix.NewSigningKey()
	if request.verify(a, other.Public()) == nil {
		t.Error("another key passes")
	}
}

// FuzzAuthorization reads headers of strangers: what is read can be written, and read again.
func FuzzAuthorization(f *testing.F) {
	f.Add(`X-Matrix origin="a",destination="b",key="ed25519:c",sig="d"`)
	f.Add("x-MATRIX  sig = \"\\\"\" , origin=[::1]:1,key=ed25519:1,,")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := ParseAuthorization(header)
		if err != nil {
			return
		}
		if _, err := matrix.ParseServerName(string(a.Origin)); err != nil || !validKeyID(a.Key) {
			t.Fatalf("%q: %+v", header, a)
		}
		if strings.ContainsAny(a.Signature, `"\`) || len(a.String()) > maxAuthorization || a.Destination == "" {
			return // no signature is such
		}
		if again, err := ParseAuthorization(a.String()); err != nil || again != a {
			t.Errorf("%q becomes %+v %v, was %+v", header, again, err, a)
		}
	})
}
