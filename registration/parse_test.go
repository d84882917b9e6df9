package registration_test

import (
	"strings"
	"testing"

	"trestle/registration"
)

const whole = `
id: "IRC Bridge"
url: "http://127.0.0.1:1234/path/"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot"
rate_limited: false
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
org.matrix.msc3202: true
io.element.msc4190: true
trestle.query_token: always
protocols: [irc, "ircs"]
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
`

func TestParseEveryKey(t *testing.T) {
	r, err := registration.Parse("irc.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != "IRC Bridge" || r.URL != "http://127.0.0.1:1234/path" || r.SenderLocalpart != "_irc_bot" ||
		!strings.HasPrefix(r.ASToken, "30c0") || !strings.HasPrefix(r.HSToken, "312d") {
		t.Errorf("strings: %+v", r)
	}
	if r.RateLimited || !r.ReceiveEphemeral || !r.PushEphemeral || !r.WantsEphemeral() || !r.DeviceLists ||
		!r.DeviceManagement || r.QueryToken != registration.QueryTokenAlways {
		t.Errorf("switches: %+v", r)
	}
	if strings.Join(r.Protocols, " ") != "irc ircs" {
		t.Errorf("protocols: %q", r.Protocols)
	}
	n := r.Namespaces
	if len(n.Users) != 1 || !n.Users[0].Exclusive || len(n.Aliases) != 1 || n.Aliases[0].Exclusive || len(n.Rooms) != 0 {
		t.Errorf("namespaces: %+v", n)
	}
	if len(r.Warnings) != 0 || r.File != "irc.yaml" {
		t.Errorf("warnings %v, file %q", r.Warnings, r.File)
	}
}

func TestParseDefaults(t *testing.T) {
	const least = "id: a\nurl: %\nas_token: b\nhs_token: c\nsender_localpart: d\nnamespaces:\n"
	for _, url := range []string{"null", "~", "", `""`, "unix:///run/as.sock", "https://[::1]:9000"} {
		r, err := registration.Parse("", []byte(strings.Replace(least, "%", url, 1)))
		if err != nil {
			t.Errorf("url %s: %v", url, err)
			continue
		}
		if !r.RateLimited || r.WantsEphemeral() || r.QueryToken != registration.QueryTokenAuto {
			t.Errorf("defaults: %+v", r)
		}
	}
}

// edit replaces the line that begins with key by text.
func edit(key, text string) string {
	lines := strings.Split(whole, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), key) {
			lines[i] = text
		}
	}
	return strings.Join(lines, "\n")
}

func TestParseProblems(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"empty file":        {"", "f.yaml:1: The file is empty."},
		"not YAML":          {"id: [", "f.yaml:1: This is not YAML"},
		"not a mapping":     {"- a", "f.yaml:1: A registration is a mapping"},
		"two documents":     {whole + "---\nid: x\n", "f.yaml:22: A registration file holds one document"},
		"missing id":        {edit("id:", ""), `f.yaml:3: A registration needs the key "id".`},
		"id of a number":    {edit("id:", "id: 12"), `f.yaml:2: "id" must be a string; put it into quotes.`},
		"id is a list":      {edit("id:", "id: [a]"), `f.yaml:2: "id" must be a string.`},
		"id empty":          {edit("id:", `id: ""`), `f.yaml:2: "id" is empty.`},
		"id twice":          {edit("id:", "id: a\nid: b"), `f.yaml:3: The key "id" is here a second time; the first is in line 2.`},
		"token like a real": {edit("as_token:", "as_token: 1234e56"), `f.yaml:4: "as_token" must be a string; put it into quotes.`},
		"token with space":  {edit("as_token:", "as_token: a b"), `f.yaml:4: "as_token" may hold printable ASCII`},
		"token and newline": {edit("hs_token:", `hs_token: "a\r\nX-Evil: 1"`), `f.yaml:5: "hs_token" may hold printable ASCII`},
		"sender as user ID": {edit("sender_localpart:", `sender_localpart: "@a:b"`), "f.yaml:6: \"sender_localpart\" is the part between @ and : alone."},
		"sender with colon": {edit("sender_localpart:", `sender_localpart: "a:b"`), "f.yaml:6: \"sender_localpart\" has characters"},
		"url of a port":     {edit("url:", `url: "localhost:80"`), `f.yaml:3: "url" must begin with http://`},
		"url without host":  {edit("url:", `url: "http://"`), `f.yaml:3: "url" names no host.`},
		"url of no port":    {edit("url:", `url: "http://a:65536"`), `f.yaml:3: "url" has a port`},
		"url of port 0":     {edit("url:", `url: "https://[::1]:0"`), `f.yaml:3: "url" has a port`},
		"url with password": {edit("url:", `url: "http://a:b@c"`), `f.yaml:3: "url" may not have a user`},
		"url with query":    {edit("url:", `url: "http://c/?"`), `f.yaml:3: "url" may not have a user, a query`},
		"relative socket":   {edit("url:", `url: "unix://a/b"`), `f.yaml:3: "url" needs an absolute path`},
		"boolean as word":   {edit("rate_limited:", "rate_limited: never"), `f.yaml:7: "rate_limited" must be true or false.`},
		"misspelt key":      {edit("rate_limited:", "rate_limit: false"), `f.yaml:7: A registration has no key "rate_limit"; did you mean "rate_limited"?`},
		"query token":       {edit("trestle.", "trestle.query_token: maybe"), `f.yaml:12: "trestle.query_token" must be auto, always or never.`},
		"tokens as a list":  {edit("protocols:", "trestle.previous_tokens: [a]"), `f.yaml:13: "trestle.previous_tokens" must be a mapping`},
		"tokens for ever":   {edit("protocols:", "trestle.previous_tokens: {as_token: a}"), `f.yaml:13: "trestle.previous_tokens" needs the key "until".`},
		"no time":           {edit("protocols:", "trestle.previous_tokens: {until: soon}"), `f.yaml:13: "until" must be a time`},
		"protocols":         {edit("protocols:", "protocols: irc"), `f.yaml:13: "protocols" must be a list.`},
		"namespaces list":   {edit("namespaces:", "namespaces: []\nx:"), `f.yaml:14: "namespaces" must be a mapping`},
		"namespace kind":    {edit("users:", "  user:"), `f.yaml:15: "namespaces" has no key "user"; did you mean "users"?`},
		"exclusive missing": {edit("regex: \"@", "      x: 1"), `f.yaml:16: A namespace needs the key "regex".`},
		"regex":             {edit("regex: \"@", `      regex: "@(a"`), `f.yaml:17: In the namespace "@(a" the expression does not compile`},
		"regex escapes":     {edit("regex: \"@", `      regex: "@a)|(b"`), `f.yaml:17: In the namespace "@a)|(b" the expression does not compile`},
		"look-ahead":        {edit("regex: \"@", `      regex: "@(?!x).*"`), "look-ahead, look-behind and back references are not supported"},
		"counting regex":    {edit("regex: \"@", `      regex: "@`+strings.Repeat("(a?){1000}", 10)+`"`), "repeats too much"},
		"long regex":        {edit("regex: \"@", `      regex: "@`+strings.Repeat("a", 9000)+`"`), "longer than 8192 bytes"},
		"exclusive null":    {edit("- exclusive: true", "    - exclusive:"), `f.yaml:16: "exclusive" must be true or false.`},
		"key is a list":     {whole + "[a]: 1\n", "f.yaml:22: A key of A registration must be a word."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := registration.Parse("f.yaml", []byte(test.file))
			if err == nil {
				t.Fatalf("accepted: %+v", r)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is\n%v\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestParseReportsAllProblems(t *testing.T) {
	_, err := registration.Parse("f.yaml", []byte("id: 1\nurl: x\nnamespaces: {users: [{regex: '@('}]}\n"))
	for _, want := range []string{"as_token", "hs_token", "sender_localpart", `"id" must`, `"url" must`, "compile", `"exclusive"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in:\n%v", want, err)
		}
	}
}

func TestParseWarnings(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"settings of a service": {whole + "heisenbridge:\n  owner: me\n", `f.yaml:22: A registration has no key "heisenbridge"; it is ignored.`},
		"old group":             {edit("regex: \"@", "      regex: '@.*'\n      group_id: '+g:x'"), `no key "group_id"; it is ignored`},
		"prefix alone":          {edit("regex: \"@", "      regex: '@_irc_'"), "can match nothing"},
		"wrong sigil":           {edit("regex: \"@", "      regex: '_irc_.*'"), "can match nothing"},
		"one token":             {strings.ReplaceAll(edit("as_token", "as_token: a"), `hs_token: "312`, "hs_token: a #"), "are the same"},
		"protocol twice":        {edit("protocols", "protocols: [a, a]"), "listed twice"},
	}
	for name, test := range tests {
		r, err := registration.Parse("f.yaml", []byte(test.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Error(), test.want) {
			t.Errorf("%s: warnings %v, want %s", name, r.Warnings, test.want)
		}
	}
}

func TestParseYAMLAlias(t *testing.T) {
	file := edit("as_token", "as_token: &t abc")
	file = strings.Replace(file, `"#_irc_bridge_.*"`, "*t", 1)
	r, err := registration.Parse("", []byte(file))
	if err != nil || r.Namespaces.Aliases[0].Regex != "abc" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("id: &a [*a]\nurl: *a")
	f.Add("<<: {id: a}\nnamespaces: {users: [{regex: '@(a|b){2,3}.*', exclusive: yes}]}")
	f.Fuzz(func(t *testing.T, data string) {
		r, err := registration.Parse("f", []byte(data))
		if err != nil {
			return
		}
		written, err := r.Marshal()
		if err != nil {
			t.Fatalf("parsed, but cannot be written: %v", err)
		}
		again, err := registration.Parse("f", written)
		if err != nil {
			t.Fatalf("written, but cannot be parsed: %v\n%s", err, written)
		}
		if again.ID != r.ID || again.URL != r.URL || again.ASToken != r.ASToken || again.RateLimited != r.RateLimited ||
			len(again.Namespaces.Users) != len(r.Namespaces.Users) {
			t.Fatalf("came back as %+v, was %+v", again, r)
		}
	})
}
