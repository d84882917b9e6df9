package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"trestle/internal/matrix"
)

// scheme is that of the Authorization headers of servers.
const scheme = "X-Matrix"

// maxAuthorization is how long such a header may be: twice what its parts can have.
const maxAuthorization = 4 << 10

// An Authorization is one signature of a request (Server-Server API § Request Authentication).
type Authorization struct {
	Origin      matrix.ServerName
	Destination matrix.ServerName // empty if an older server did not say
	Key         matrix.KeyID
	Signature   string
}

// String is the header, in the form that older servers read as well.
func (a Authorization) String() string {
	return fmt.Sprintf(`%s origin="%s",destination="%s",key="%s",sig="%s"`, scheme, a.Origin, a.Destination, a.Key, a.Signature)
}

// IsAuthorization reports whether a header has the scheme of servers.
func IsAuthorization(header string) bool {
	name, _, found := strings.Cut(header, " ")
	return found && strings.EqualFold(name, scheme)
}

// ParseAuthorization reads the header (RFC 9110 § 11.4). Values without quotation marks may have
// colons, as those of older servers do.
func ParseAuthorization(header string) (Authorization, error) {
	var a Authorization
	if len(header) > maxAuthorization {
		return a, errors.New("the header is too long")
	}
	if !IsAuthorization(header) {
		return a, fmt.Errorf("the header does not begin with %s", scheme)
	}
	seen := map[string]string{}
	rest := strings.TrimLeft(header[len(scheme):], " ")
	for {
		name, value, after, err := parameter(rest)
		if err != nil {
			return a, err
		}
		if _, twice := seen[name]; twice {
			return a, fmt.Errorf("%.20q is there twice", name)
		}
		seen[name] = value
		if after == "" {
			break
		}
		rest = after
	}
	origin, err := matrix.ParseServerName(seen["origin"])
	if err != nil {
		return a, fmt.Errorf("origin: %w", err)
	}
	if name, ok := seen["destination"]; ok {
		if a.Destination, err = matrix.ParseServerName(name); err != nil {
			return a, fmt.Errorf("destination: %w", err)
		}
	}
	a.Origin, a.Key, a.Signature = origin, matrix.KeyID(seen["key"]), seen["sig"]
	if !validKeyID(a.Key) {
		return a, errors.New("key is no ID of an ed25519 key")
	}
	if a.Signature == "" {
		return a, errors.New("there is no sig")
	}
	return a, nil
}

const blanks = " \t"

// parameter reads name=value and the comma behind it; rest is what follows, empty at the end.
func parameter(text string) (name, value, rest string, err error) {
	name, rest, found := strings.Cut(text, "=")
	name = strings.ToLower(strings.Trim(name, blanks))
	if !found || name == "" || strings.ContainsAny(name, `", `+blanks) {
		return "", "", "", errors.New("it is no list of name=value")
	}
	rest = strings.TrimLeft(rest, blanks)
	if strings.HasPrefix(rest, `"`) {
		value, rest, err = quotedValue(rest[1:])
	} else {
		end := strings.IndexAny(rest, `,"`+blanks)
		if end < 0 {
			end = len(rest)
		}
		value, rest = rest[:end], rest[end:]
	}
	if err != nil {
		return "", "", "", err
	}
	rest = strings.TrimLeft(rest, blanks)
	switch {
	case rest == "":
		return name, value, "", nil
	case rest[0] != ',':
		return "", "", "", errors.New("there is something behind a value")
	}
	rest = strings.TrimLeft(rest[1:], blanks)
	if rest == "" {
		return "", "", "", errors.New("it ends with a comma")
	}
	return name, value, rest, nil
}

// quotedValue reads up to the closing quotation mark.
func quotedValue(text string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			if i++; i == len(text) {
				return "", "", errors.New("it ends with a backslash")
			}
		}
		b.WriteByte(text[i])
	}
	return "", "", errors.New("a quotation mark is missing")
}

// validKeyID holds the ID of a key to § Publishing Keys: ed25519:[a-zA-Z0-9_]+.
func validKeyID(id matrix.KeyID) bool {
	name, ok := strings.CutPrefix(string(id), "ed25519:")
	if !ok || name == "" || len(id) > matrix.MaxIDLength {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// A SignedRequest is what the signature of a request is about.
type SignedRequest struct {
	Method      string
	URI         string // path and query, as they are in the request
	Origin      matrix.ServerName
	Destination matrix.ServerName
	Content     []byte // JSON; nil: none
}

// object is the JSON that is signed, with signatures if there are any.
func (r *SignedRequest) object(signatures map[matrix.ServerName]map[matrix.KeyID]string) ([]byte, error) {
	members := map[string]any{"method": r.Method, "uri": r.URI, "origin": r.Origin, "destination": r.Destination}
	if r.Content != nil {
		members["content"] = json.RawMessage(r.Content)
	}
	if signatures != nil {
		members["signatures"] = signatures
	}
	return json.Marshal(members)
}

// sign makes the header of a request.
func (r *SignedRequest) sign(key matrix.SigningKey) (Authorization, error) {
	a := Authorization{Origin: r.Origin, Destination: r.Destination, Key: key.ID}
	object, err := r.object(nil)
	if err != nil {
		return a, err
	}
	signed, err := matrix.SignJSON(object, r.Origin, key)
	if err != nil {
		return a, err
	}
	var read struct {
		Signatures map[matrix.ServerName]map[matrix.KeyID]string `json:"signatures"`
	}
	if err := json.Unmarshal(signed, &read); err != nil {
		return a, err
	}
	a.Signature = read.Signatures[r.Origin][key.ID]
	return a, nil
}

// verify checks a signature with the key that it names.
func (r *SignedRequest) verify(a Authorization, key []byte) error {
	object, err := r.object(map[matrix.ServerName]map[matrix.KeyID]string{a.Origin: {a.Key: a.Signature}})
	if err != nil {
		return matrix.NotJSON("The request body is not valid JSON.")
	}
	return matrix.VerifyJSON(object, a.Origin, a.Key, key)
}
