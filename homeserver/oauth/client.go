package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"unicode/utf8"
)

// The grants that clients may use.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// Bounds of what a client says about itself.
const (
	maxName      = 255  // bytes
	maxURI       = 2000 // bytes
	maxRedirects = 20
	maxListed    = 50 // grant and response types, known or not
)

// A Client is what an application has said about itself (RFC 7591), as far as
// this server understands it. All clients are public: they have no secret.
type Client struct {
	Name            string   `json:"client_name,omitempty"`
	URI             string   `json:"client_uri"`
	LogoURI         string   `json:"logo_uri,omitempty"`
	TermsURI        string   `json:"tos_uri,omitempty"`
	PolicyURI       string   `json:"policy_uri,omitempty"`
	Redirects       []string `json:"redirect_uris,omitempty"`
	ResponseTypes   []string `json:"response_types"`
	GrantTypes      []string `json:"grant_types"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	ApplicationType string   `json:"application_type"`
}

// ParseClient reads the metadata of a client that registers. What the server
// does not understand is left out; what it does not allow is an [*Error].
func ParseClient(body []byte) (*Client, error) {
	var c Client
	if !utf8.Valid(body) || json.Unmarshal(body, &c) != nil {
		return nil, invalidMetadata("The metadata is not a JSON object of the right shape.")
	}
	if len(c.Name) > maxName || !printable(c.Name) {
		return nil, invalidMetadata("client_name has at most %d bytes, and no control characters.", maxName)
	}
	host, err := c.checkLinks()
	if err != nil {
		return nil, err
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	if len(c.Redirects) > maxRedirects {
		return nil, invalidRedirect("A client has at most %d redirect URIs.", maxRedirects)
	}
	for _, redirect := range c.Redirects {
		if err := checkRedirect(redirect, host, c.ApplicationType); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// checkLinks checks the addresses of pages about the client. It returns the
// host that all others have to be on, or below.
func (c *Client) checkLinks() (host string, err error) {
	base, ok := parseWeb(c.URI)
	if !ok {
		return "", invalidMetadata("client_uri must be an https URL on a domain, without a user.")
	}
	host = base.Hostname()
	for _, link := range []struct{ name, uri string }{
		{"logo_uri", c.LogoURI}, {"tos_uri", c.TermsURI}, {"policy_uri", c.PolicyURI},
	} {
		if link.uri == "" {
			continue
		}
		if u, ok := parseWeb(link.uri); !ok || !below(u.Hostname(), host) {
			return "", invalidMetadata("%s must be an https URL on %s or below.", link.name, host)
		}
	}
	return host, nil
}

// settle fills in defaults, and drops what this server does not know.
func (c *Client) settle() error {
	if len(c.GrantTypes) > maxListed || len(c.ResponseTypes) > maxListed {
		return invalidMetadata("These are too many grant or response types.")
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{GrantCode, GrantRefresh}
	}
	if c.ResponseTypes == nil {
		c.ResponseTypes = []string{"code"}
	}
	c.GrantTypes = known(c.GrantTypes, GrantCode, GrantRefresh, GrantDevice)
	c.ResponseTypes = known(c.ResponseTypes, "code")
	switch c.ApplicationType {
	case "":
		c.ApplicationType = "web"
	case "web", "native":
	default:
		return invalidMetadata("application_type is web or native.")
	}
	if c.AuthMethod != "" && c.AuthMethod != "none" {
		return invalidMetadata("Clients are public here: token_endpoint_auth_method must be none.")
	}
	c.AuthMethod = "none"
	byCode := c.Allows(GrantCode)
	switch {
	case !byCode && !c.Allows(GrantDevice):
		return invalidMetadata("grant_types has none with which a login could begin.")
	case byCode && len(c.ResponseTypes) == 0:
		return invalidMetadata("The grant %s needs the response type code.", GrantCode)
	case byCode && len(c.Redirects) == 0:
		return invalidRedirect("The grant %s needs a redirect URI.", GrantCode)
	}
	return nil
}

// known are the values of a list that are understood, each once and in the
// order of those.
func known(list []string, understood ...string) []string {
	kept := []string{}
	for _, value := range understood {
		if slices.Contains(list, value) {
			kept = append(kept, value)
		}
	}
	return kept
}

// Allows reports whether the client may use a grant.
func (c *Client) Allows(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// ID names the client. Clients that say the same about themselves have the
// same ID, so that an application that registers for each login is kept once.
func (c *Client) ID() (string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:18]), nil
}

// parseWeb reads an https URL on a domain.
func parseWeb(text string) (*url.URL, bool) {
	if len(text) > maxURI || !plain(text) {
		return nil, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" || !isDomain(u.Hostname()) {
		return nil, false
	}
	return u, true
}

func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7F {
			return false
		}
	}
	return true
}
