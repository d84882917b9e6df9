package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"trestle/internal/config"
)

func TestSSOProviders(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"client.secret": "s3cret\n",
		"trestle.yaml": `
public_base_url: https://matrix.example.org
sso:
  trusted_clients: ["https://app.example.org/", "element:"]
  providers:
    - {id: one, name: One, issuer: "https://one.example", client_id: trestle, client_secret_file: client.secret}
    - id: two
      name: Two
      issuer: http://127.0.0.1:5556/dex
      client_id: trestle
      client_secret: other
      allow_sign_up: false
      user_mapping: {local_part: "{email|localpart}"}
      require: [{claim: groups, value: chat}]
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(environ ...string) []config.SSOProvider {
		t.Helper()
		c, err := config.Load(config.Source{Environ: append(environ, "TRESTLE_CONFIG="+filepath.Join(folder, "trestle.yaml"))})
		if err != nil {
			t.Fatal(err)
		}
		return c.SSO.Providers
	}
	one, two := config.DefaultSSOProvider(), config.DefaultSSOProvider()
	one.ID, one.Name, one.Issuer, one.ClientID, one.ClientSecret = "one", "One", "https://one.example", "trestle", "s3cret"
	two.ID, two.Name, two.Issuer, two.ClientID, two.ClientSecret = "two", "Two", "http://127.0.0.1:5556/dex", "trestle", "other"
	two.AllowSignUp, two.UserMapping.LocalPart, two.Require = false, "{email|localpart}", []config.SSORequirement{{Claim: "groups", Value: "chat"}}
	if got := load(); !reflect.DeepEqual(got, []config.SSOProvider{one, two}) {
		t.Errorf("providers\n%#v\nwant\n%#v", got, []config.SSOProvider{one, two})
	}
	// A list that takes the place of another one takes nothing of it over.
	one.ClientSecret = ""
	if got := load(`TRESTLE_SSO_PROVIDERS=[{id: one, name: One, issuer: "https://one.example", client_id: trestle}]`); !reflect.DeepEqual(got, []config.SSOProvider{one}) {
		t.Errorf("providers of the environment %#v", got)
	}
}

func TestSSOMistakes(t *testing.T) {
	provider := func(more string) string {
		return "public_base_url: https://m.example\nsso: {providers: [{id: a, name: A, issuer: 'https://a.example', client_id: c" + more + "}]}"
	}
	if _, err := config.Parse("trestle.yaml", []byte(provider(""))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want string }{
		{"sso: {providers: [{id: a, name: A, issuer: 'https://a.example', client_id: c}]}", "sso.providers: need public_base_url"},
		{"public_base_url: https://m.example\nsso: {providers: [{}]}", "sso.providers[0].id: must be"},
		{"public_base_url: https://m.example\nsso: {providers: [{id: ..}]}", "sso.providers[0].id: must be"},
		{"public_base_url: https://m.example\nsso: {providers: [{id: a}, {id: a}]}", "sso.providers[1].id: \"a\" is another provider's already"},
		{"public_base_url: https://m.example\nsso: {providers: [{id: a, issuer: 'http://a.example'}]}", "sso.providers[0].issuer:"},
		{"public_base_url: https://m.example\nsso: {providers: [{id: a, issuer: 'https://a.example/?x=y'}]}", "sso.providers[0].issuer:"},
		{"public_base_url: https://m.example\nsso: {providers: [{id: a}]}", "sso.providers[0].client_id: is needed"},
		{provider(", scopes: [profile]"), "sso.providers[0].scopes: must have openid"},
		{provider(", icon: 'https://a.example/a.png'"), "sso.providers[0].icon:"},
		{provider(", brand: 'A B'"), "sso.providers[0].brand:"},
		{provider(", user_mapping: {local_part: '{a'}"), "sso.providers[0].user_mapping.local_part: has a brace"},
		{provider(", user_mapping: {email: '{a|b}'}"), "no filter"},
		{provider(", require: [{claim: groups}]"), "sso.providers[0].require[0]: needs"},
		{provider(", secret: x"), "there is no such setting"},
		{"sso: {trusted_clients: [app.example.org]}", "sso.trusted_clients[0]:"},
		{"sso: {trusted_clients: ['https://']}", "sso.trusted_clients[0]:"},
		{"sso: {trusted_clients: ['https://user@app.example.org/']}", "sso.trusted_clients[0]:"},
	} {
		if _, err := config.Parse("trestle.yaml", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.text, err, tt.want)
		}
	}
}
