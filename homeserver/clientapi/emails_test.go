package clientapi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func requestBody(email, secret string, attempt int) string {
	return fmt.Sprintf(`{"email":%q,"client_secret":%q,"send_attempt":%d}`, email, secret, attempt)
}

// verify gets an address verified and returns the session.
func (s *accountServer) verify(box *postbox, path, email, secret string) string {
	s.t.Helper()
	sid := s.must("POST", v3+path+"/email/requestToken", "", requestBody(email, secret, 1)).field("sid")
	s.click(box.next(s.t, email))
	return sid
}

func creds(sid, secret string) string {
	return fmt.Sprintf(`{"type":"m.login.email.identity","threepid_creds":{"sid":%q,"client_secret":%q}}`, sid, secret)
}

func TestAddresses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed)
		alice, bob := s.register("alice"), s.register("bob")
		if r := s.must("GET", v3+"/account/3pid", alice, ""); r.body != `{"threepids":[]}` {
			t.Errorf("at first: %s", r.body)
		}
		const ask = v3 + "/account/3pid/email/requestToken"
		sid := s.must("POST", ask, "", `{"email":"Alice@Example.org","client_secret":"s3","send_attempt":1,"next_link":"https://app.example/#/verified"}`).field("sid")
		link := box.next(t, "Alice@Example.org")
		// The same request once more is the same session, and no second mail.
		if again := s.must("POST", ask, "", requestBody("alice@example.org", "s3", 1)); again.field("sid") != sid {
			t.Errorf("again: %s", again.body)
		}
		box.empty(t)
		add := `{"sid":"` + sid + `","client_secret":"s3","auth":` + passwordAuth("alice", password) + `}`
		s.refused("POST", v3+"/account/3pid/add", alice, add, 403, "M_THREEPID_AUTH_FAILED")
		if _, shown := s.browse(link, nil); !strings.HasSuffix(shown.Get("Content-Security-Policy"), "; form-action 'self' https://app.example") {
			t.Errorf("policy of the page: %v", shown)
		}
		if header := s.click(link); header.Get("Location") != "https://app.example/#/verified" {
			t.Errorf("after the click: %v", header)
		}
		s.refused("POST", v3+"/account/3pid/add", alice, strings.Replace(add, `"s3"`, `"s4"`, 1), 403, "M_THREEPID_AUTH_FAILED")
		if r := s.do("POST", v3+"/account/3pid/add", alice, `{"sid":"`+sid+`","client_secret":"s3"}`); r.status != 401 || r.field("flows") == "" {
			t.Errorf("without a password: %d %s", r.status, r.body)
		}
		s.must("POST", v3+"/account/3pid/add", alice, add)
		list := s.must("GET", v3+"/account/3pid", alice, "")
		if !same(list.at("threepids"), []any{map[string]any{
			"medium": "email", "address": "alice@example.org", "validated_at": s.time().UnixMilli(), "added_at": s.time().UnixMilli(),
		}}) {
			t.Errorf("added: %s", list.body)
		}
		s.refused("POST", v3+"/account/3pid/add", bob, strings.ReplaceAll(add, "alice", "bob"), 403, "M_THREEPID_AUTH_FAILED") // used up
		s.refused("POST", ask, "", requestBody("ALICE@example.org", "s5", 1), 400, "M_THREEPID_IN_USE")
		s.refused("POST", v3+"/register/email/requestToken", "", requestBody("alice@example.org", "s5", 1), 400, "M_THREEPID_IN_USE")

		for _, body := range []string{
			`{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"ALICE@example.org"},"password":"` + password + `"}`,
			`{"type":"m.login.password","medium":"email","address":"alice@example.org","password":"` + password + `"}`,
		} {
			if r := s.must("POST", v3+"/login", "", body); r.field("user_id") != aliceID {
				t.Errorf("login by address: %s", r.body)
			}
			s.refused("POST", v3+"/login", "", strings.Replace(body, password, "wrong", 1), 403, "M_FORBIDDEN")
			s.refused("POST", v3+"/login", "", strings.Replace(body, "@example", "@example.", 1), 403, "M_FORBIDDEN")
		}

		named := `{"medium":"email","address":"alice@example.org"}`
		s.must("POST", v3+"/account/3pid/delete", bob, named) // not his: nothing happens
		if r := s.must("POST", v3+"/account/3pid/unbind", alice, named); r.body != `{"id_server_unbind_result":"no-support"}` {
			t.Errorf("unbind: %s", r.body)
		}
		if r := s.must("GET", v3+"/account/3pid", alice, ""); !strings.Contains(r.body, "alice@example.org") {
			t.Errorf("after unbind: %s", r.body)
		}
		if r := s.must("POST", v3+"/account/3pid/delete", alice, named); r.body != `{"id_server_unbind_result":"no-support"}` {
			t.Errorf("delete: %s", r.body)
		}
		if r := s.must("GET", v3+"/account/3pid", alice, ""); r.body != `{"threepids":[]}` {
			t.Errorf("after delete: %s", r.body)
		}
		old := s.verify(box, "/account/3pid", "bob@example.org", "old")
		s.must("POST", v3+"/account/3pid", bob, `{"three_pid_creds":{"sid":"`+old+`","client_secret":"old","id_server":"x","id_access_token":"y"},"auth":`+passwordAuth("bob", password)+`}`)
		if err := s.accounts.Deactivate(t.Context(), "@bob:hs.example", false); err != nil {
			t.Fatal(err)
		}
		s.must("POST", ask, "", requestBody("bob@example.org", "free-again", 1))
	})
}

func TestResetPassword(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed)
		alice := s.register("alice")
		sid := s.verify(box, "/account/3pid", "alice@example.org", "add")
		s.must("POST", v3+"/account/3pid/add", alice, `{"sid":"`+sid+`","client_secret":"add","auth":`+passwordAuth("alice", password)+`}`)

		const ask = v3 + "/account/password/email/requestToken"
		s.refused("POST", ask, "", requestBody("unknown@example.org", "r1", 1), 400, "M_THREEPID_NOT_FOUND")
		reset := func(auth string) reply {
			return s.do("POST", v3+"/account/password", "", `{"new_password":"battery staple","auth":`+auth+`}`)
		}
		challenge := reset(`{}`)
		if challenge.status != 401 || challenge.field("flows") != `[{"stages":["m.login.email.identity"]}]` {
			t.Fatalf("without auth: %d %s", challenge.status, challenge.body)
		}
		sid = s.must("POST", ask, "", requestBody("alice@example.org", "r1", 1)).field("sid")
		link := box.next(t, "alice@example.org")
		if r := reset(creds(sid, "r1")); r.status != 401 || r.field("errcode") != "M_THREEPID_AUTH_FAILED" || r.field("session") == "" {
			t.Errorf("before the click: %d %s", r.status, r.body)
		}
		s.click(link)
		if r := reset(creds(sid, "guess")); r.status != 401 {
			t.Errorf("with another secret: %d %s", r.status, r.body)
		}
		if r := reset(creds(sid, "r1")); r.status != 200 {
			t.Fatalf("after the click: %d %s", r.status, r.body)
		}
		if r := reset(creds(sid, "r1")); r.status != 401 {
			t.Errorf("with a session that was used up: %d %s", r.status, r.body)
		}
		s.refused("GET", v3+"/account/whoami", alice, "", 401, "M_UNKNOWN_TOKEN")
		s.must("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"battery staple"}`)
		// A session for adding an address is none for a new password.
		other := s.verify(box, "/account/3pid", "other@example.org", "add2")
		if r := reset(creds(other, "add2")); r.status != 401 {
			t.Errorf("by a session for something else: %d %s", r.status, r.body)
		}
		s.wait(25 * time.Hour)
		if r, _ := s.browse(link, nil); r.status != 400 || !strings.Contains(r.body, "too old") {
			t.Errorf("an old link: %d %s", r.status, r.body)
		}
	})
}

func TestRegisterWithEmail(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed, func(o *accounts.Options) { o.EmailAtStart = accounts.EmailRequired })
		body := func(name, auth string) string {
			return `{"username":"` + name + `","password":"` + password + `","auth":` + auth + `}`
		}
		if r := s.do("POST", v3+"/register", "", body("alice", `{"type":"m.login.dummy"}`)); r.status != 401 || r.field("flows") != `[{"stages":["m.login.email.identity"]}]` {
			t.Fatalf("flows: %d %s", r.status, r.body)
		}
		sid := s.verify(box, "/register", "alice@example.org", "s1")
		token := s.must("POST", v3+"/register", "", body("alice", creds(sid, "s1"))).field("access_token")
		if r := s.must("GET", v3+"/account/3pid", token, ""); !strings.Contains(r.body, `"address":"alice@example.org"`) {
			t.Errorf("addresses: %s", r.body)
		}
		if r := s.must("GET", v3+"/capabilities", token, ""); !same(r.at("capabilities", "m.3pid_changes"), map[string]bool{"enabled": true}) {
			t.Errorf("capabilities: %s", r.body)
		}
		if r := s.do("POST", v3+"/register", "", body("bob", creds(sid, "s1"))); r.status != 401 {
			t.Errorf("a second account by one proof: %d %s", r.status, r.body)
		}
		s.refused("POST", v3+"/register", "", body("bob", `{"type":"m.login.email.identity"}`), 400, "M_MISSING_PARAM")
	})
}

// Nobody learns which addresses are known where that is not wanted.
func TestHiddenAddresses(t *testing.T) {
	box, mailed := withMail(t)
	s := newAccountServer(t, t.TempDir()+"/test.db", mailed, func(o *accounts.Options) { o.HideAddresses = true })
	alice := s.register("alice")
	sid := s.verify(box, "/account/3pid", "alice@example.org", "add")
	s.must("POST", v3+"/account/3pid/add", alice, `{"sid":"`+sid+`","client_secret":"add","auth":`+passwordAuth("alice", password)+`}`)
	if r := s.must("POST", v3+"/account/password/email/requestToken", "", requestBody("unknown@example.org", "a", 1)); r.field("sid") == "" {
		t.Errorf("unknown: %s", r.body)
	}
	if l := <-box.letters; !strings.Contains(l.text, "There is none") || link.MatchString(l.text) {
		t.Errorf("the letter: %s", l.text)
	}
	if r := s.must("POST", v3+"/register/email/requestToken", "", requestBody("alice@example.org", "a", 1)); r.field("sid") == "" {
		t.Errorf("known: %s", r.body)
	}
	if l := <-box.letters; !strings.Contains(l.text, "belongs to an account") || link.MatchString(l.text) {
		t.Errorf("the letter: %s", l.text)
	}
}

func TestAddressesRefuse(t *testing.T) {
	box, mailed := withMail(t)
	s := newAccountServer(t, t.TempDir()+"/test.db", mailed)
	s.register("alice")
	for _, path := range []string{"/register", "/account/password", "/account/3pid"} {
		path = v3 + path + "/email/requestToken"
		for _, tt := range []struct {
			body   string
			status int
			code   string
		}{
			{``, 400, "M_NOT_JSON"}, {`{`, 400, "M_NOT_JSON"}, {`[]`, 400, "M_BAD_JSON"}, {`{}`, 400, "M_MISSING_PARAM"},
			{`{"email":1,"client_secret":"a","send_attempt":1}`, 400, "M_BAD_JSON"},
			{`{"email":"a@b.example","client_secret":"a"}`, 400, "M_MISSING_PARAM"},
			{`{"email":"a@b.example","client_secret":"a","send_attempt":"1"}`, 400, "M_BAD_JSON"},
			{requestBody("a@b.example", "a b", 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@b.example", "", 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@b.example", strings.Repeat("x", 256), 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@b.example", "a", -1), 400, "M_INVALID_PARAM"},
			{requestBody("", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody("alice", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@b.example, c@d.example", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody("A <a@b.example>", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody("a@b.example\r\nBcc: c@d.example", "a", 1), 400, "M_INVALID_PARAM"},
			{requestBody(strings.Repeat("a", 600)+"@b.example", "a", 1), 400, "M_INVALID_PARAM"},
			{`{"email":"a@b.example","client_secret":"a","send_attempt":1,"next_link":"javascript:alert(1)"}`, 400, "M_INVALID_PARAM"},
		} {
			s.refused("POST", path, "", tt.body, tt.status, tt.code)
		}
	}
	s.refused("POST", v3+"/register/email/requestToken", "", requestBody("nobody@b.example", "a", 1), 400, "M_INVALID_PARAM")
	for _, path := range []string{"/register", "/account/password", "/account/3pid"} {
		status, code := 403, "M_THREEPID_DENIED"
		if path == "/account/3pid" {
			status, code = 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"
		}
		s.refused("POST", v3+path+"/msisdn/requestToken", "", `{"client_secret":"a","country":"GB","phone_number":"1","send_attempt":1}`, status, code)
		s.refused("POST", v3+path+"/msisdn/requestToken", "", `{}`, 400, "M_MISSING_PARAM")
	}
	box.empty(t)
	for _, link := range []string{"", "?sid=x&client_secret=y&token=z"} {
		if r, _ := s.browse("/_trestle/client/verify"+link, nil); r.status != 400 || strings.Contains(r.body, "<form") {
			t.Errorf("a wrong link: %d %s", r.status, r.body)
		}
	}
	if r, _ := s.browse("/_trestle/client/verify", url.Values{"sid": {"x"}}); r.status != 400 {
		t.Errorf("a wrong form: %d %s", r.status, r.body)
	}
}

func TestThreePIDsRefuse(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	alice := s.register("alice")
	s.refused("POST", v3+"/register/email/requestToken", "", requestBody("a@b.example", "a", 1), 403, "M_THREEPID_DENIED")
	s.refused("POST", v3+"/account/3pid/email/requestToken", "", requestBody("a@b.example", "a", 1), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
	s.refused("POST", v3+"/account/password", "", `{"new_password":"battery staple"}`, 401, "M_MISSING_TOKEN")
	if r := s.must("GET", v3+"/capabilities", alice, ""); !same(r.at("capabilities", "m.3pid_changes"), map[string]bool{"enabled": false}) {
		t.Errorf("capabilities: %s", r.body)
	}
	for _, tt := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"/bind", `{"sid":"a","client_secret":"b","id_server":"id.example","id_access_token":"c"}`, 400, "M_SERVER_NOT_TRUSTED"},
		{"/bind", `{"sid":"a"}`, 400, "M_MISSING_PARAM"},
		{"/add", `{}`, 400, "M_MISSING_PARAM"},
		{"/add", `{"sid":1,"client_secret":"a"}`, 400, "M_BAD_JSON"},
		{"", `{}`, 400, "M_MISSING_PARAM"},
		{"", `{"three_pid_creds":1}`, 400, "M_BAD_JSON"},
		{"", `{"three_pid_creds":{"sid":"a","client_secret":"b"}}`, 403, "M_THREEPID_AUTH_FAILED"},
		{"/delete", `{"medium":"email"}`, 400, "M_MISSING_PARAM"},
		{"/delete", `{"medium":"pigeon","address":"x"}`, 400, "M_INVALID_PARAM"},
		{"/delete", `{"medium":"email","address":7}`, 400, "M_BAD_JSON"},
		{"/unbind", `{"address":"x"}`, 400, "M_MISSING_PARAM"},
	} {
		s.refused("POST", v3+"/account/3pid"+tt.path, alice, tt.body, tt.status, tt.code)
		s.refused("POST", v3+"/account/3pid"+tt.path, "", tt.body, 401, "M_MISSING_TOKEN")
	}
}

// A relay that is busy is the server's trouble, and the same request can try
// again.
func TestMailNotSent(t *testing.T) {
	box, mailed := withMail(t)
	s := newAccountServer(t, t.TempDir()+"/test.db", mailed)
	request := accounts.EmailRequest{Purpose: accounts.ForRegistration, Email: "later@b.example", ClientSecret: "a", Attempt: 1}
	for range 2 {
		if _, err := s.accounts.RequestEmail(t.Context(), request); matrix.Code(err) != "M_UNKNOWN" {
			t.Errorf("%v", err)
		}
	}
	box.empty(t)
}

func FuzzCanonicalEmail(f *testing.F) {
	for _, seed := range []string{"alice@example.org", "Ä@Bücher.example", "\"a b\"@c.example", "a@b@c.example", "@", "a@[127.0.0.1]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		canonical, err := accounts.CanonicalEmail(address)
		if err != nil {
			return
		}
		if strings.ContainsAny(canonical, "\r\n <>\"") || strings.Count(canonical, "@") < 1 {
			t.Errorf("%q became %q", address, canonical)
		}
		if again, err := accounts.CanonicalEmail(canonical); err != nil || again != canonical {
			t.Errorf("%q is not stable: %q, %v", canonical, again, err)
		}
	})
}
