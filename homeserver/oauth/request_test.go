package oauth_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/homeserver/oauth"
)

// Whatever is asked for, there is a way back to the application's own redirect
// URIs only, and none to pages of this server but those that it has.
func FuzzRequest(f *testing.F) {
	s := oauth.New(oauth.Options{BaseURL: "https://hs.example"})
	client, err := oauth.ParseClient(metadata("native", "https://example.com/cb?x=1", "http://127.0.0.1/cb", "com.example:/cb"))
	if err != nil {
		f.Fatal(err)
	}
	parse := func(query string) (*oauth.Request, error) {
		p, err := oauth.ParseParameters(query)
		if err != nil {
			return nil, err
		}
		return client.Request(p)
	}
	good := url.Values{
		"client_id": {"x"}, "redirect_uri": {"https://example.com/cb?x=1"}, "response_type": {"code"}, "state": {"x"}, "code_challenge_method": {"S256"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "scope": {"urn:matrix:client:api:* urn:matrix:client:device:ABC"},
	}
	f.Add(good.Encode())
	f.Add(good.Encode() + "&response_mode=form_post")
	f.Add(strings.Replace(good.Encode(), "example.com%2Fcb", "127.0.0.1%3A80%2Fcb", 1) + "&prompt=login")
	f.Add("client_id=x&redirect_uri=com.example:/cb&response_mode=fragment")
	f.Fuzz(func(t *testing.T, query string) {
		r, err := parse(query)
		var back oauth.Return
		var refusal *oauth.Refusal
		var known *oauth.Error
		switch {
		case err == nil:
			back = s.Deny(r)
		case errors.As(err, &refusal):
			back = s.Refuse(refusal)
		case errors.As(err, &known):
			return
		default:
			t.Fatal(err)
		}
		u, err := url.Parse(back.URL)
		if err != nil {
			t.Fatal(err)
		}
		switch place := u.Scheme + "://" + u.Hostname(); place {
		case "https://example.com", "http://127.0.0.1", "com.example://":
		default:
			t.Errorf("%q leads to %s", query, back.URL)
		}
		if r == nil {
			return
		}
		if again, err := parse(strings.TrimPrefix(r.Path(), oauth.AuthorizePath+"?")); err != nil || again.Redirect != r.Redirect || again.State != r.State || again.Create || again.Again {
			t.Errorf("%q is another request when it comes again: %+v, %v", query, again, err)
		}
	})
}

func FuzzParseParameters(f *testing.F) {
	f.Add("grant_type=refresh_token&refresh_token=x")
	f.Add("a=1&a=2")
	f.Add("a=%00&b=%ff&c=%zz;d")
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := oauth.ParseParameters(raw)
		var known *oauth.Error
		if err != nil && (!errors.As(err, &known) || known.Code != "invalid_request") {
			t.Errorf("%q: %v", raw, err)
		}
		for name, value := range p {
			if !utf8.ValidString(value) || strings.ContainsAny(value, "\x00\r\n") {
				t.Errorf("%q: %q is %q", raw, name, value)
			}
		}
	})
}

func FuzzUserCode(f *testing.F) {
	for _, typed := range []string{"WDJB-MJHT", "wdjb mjht", "WDJBMJHTX", "ﬀ", ""} {
		f.Add(typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		code := oauth.UserCode(typed)
		if code != "" && (len(code) != 9 || code[4] != '-' || oauth.UserCode(code) != code || oauth.UserCode(strings.ToLower(code)) != code) {
			t.Errorf("%q is %q", typed, code)
		}
	})
}
