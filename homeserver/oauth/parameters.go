package oauth

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Parameters are those of a request: each once, of printable UTF-8 (RFC 6749
// § 3.1, § 3.2).
type Parameters map[string]string

const (
	maxParameters = 50
	maxParameter  = 8 << 10 // bytes
)

// ParseParameters reads a query string or a form.
func ParseParameters(raw string) (Parameters, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidRequest("The parameters are not well escaped.")
	}
	if len(values) > maxParameters {
		return nil, invalidRequest("A request has at most %d parameters.", maxParameters)
	}
	p := Parameters{}
	for name, all := range values {
		if len(all) > 1 {
			return nil, invalidRequest("The parameter %.40q is there more than once.", name)
		}
		if len(all[0]) > maxParameter || !utf8.ValidString(all[0]) || !printable(all[0]) {
			return nil, invalidRequest("The parameter %.40q is too long, or holds what is no text.", name)
		}
		p[name] = all[0]
	}
	return p, nil
}

// need is a parameter that has to be there.
func (p Parameters) need(name string) (string, error) {
	if p[name] == "" {
		return "", invalidRequest("The parameter %s is missing.", name)
	}
	return p[name], nil
}

// without is the parameters in the form of a query string, but for some.
func (p Parameters) without(names ...string) string {
	values := url.Values{}
	for name, value := range p {
		if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+name+" ") {
			values.Set(name, value)
		}
	}
	return values.Encode()
}
