package clientapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
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
		link := box.next(t, "alice@example.org")
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

// Addresses that are the same here may be two people's where they are. A mail goes
// to the one that is kept, and not to the one that somebody has typed.
func TestMailsGoToTheAddressThatIsKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed)
		kim := s.register("kim")
		sid := s.verify(box, "/account/3pid", "kim@example.org", "add")
		s.must("POST", v3+"/account/3pid/add", kim, `{"sid":"`+sid+`","client_secret":"add","auth":`+passwordAuth("kim", password)+`}`)
		s.http = &http.Client{} // the files of the specification know fewer addresses than there are
		for i, typed := range []string{"KIM@example.org", "\u212aim@example.org", "kim@E\uff38AMPLE.org"} {
			s.must("POST", v3+"/account/password/email/requestToken", "", requestBody(typed, fmt.Sprint("reset", i), 1))
			box.next(t, "kim@example.org")
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

// mailPage is the page of the stage for a session.
func mailPage(session string) string {
	return v3 + "/auth/m.login.email.identity/fallback/web?session=" + session
}

// An address is given on a page, as clients have it that do not know the stage.
func TestEmailInBrowser(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed, func(o *accounts.Options) { o.EmailAtStart, o.Terms = accounts.EmailRequired, terms })
		register := func(name, session string) reply {
			return s.do("POST", v3+"/register", "", `{"username":"`+name+`","password":"`+password+`","auth":{"session":"`+session+`"}}`)
		}
		session := register("alice", "").field("session")
		page := mailPage(session)
		if r, _ := s.browse(page, nil); r.status != 200 || !strings.Contains(r.body, `autocomplete="email"`) || strings.Contains(r.body, "onAuthDone") {
			t.Fatalf("the page: %d %s", r.status, r.body)
		}
		if r, _ := s.browse(page, url.Values{"email": {"nonsense"}}); r.status != 400 || !strings.Contains(r.body, "not a mail address") || !strings.Contains(r.body, "<form") {
			t.Errorf("no address: %d %s", r.status, r.body)
		}
		send := func(address string) string {
			t.Helper()
			if r, header := s.browse(page, url.Values{"email": {address}}); r.status != 303 || header.Get("Location") != page {
				t.Fatalf("asking for a mail: %d %v %s", r.status, header, r.body)
			}
			return box.next(t, address)
		}
		wrong := send("typo@example.org")
		if strings.Contains(wrong, session) {
			t.Error("who gets the mail learns the session")
		}
		waits, _ := s.browse(page, nil)
		if waits.status != 200 || !strings.Contains(waits.body, "typo@example.org") || !strings.Contains(waits.body, `<meta http-equiv="refresh" content="5">`) || strings.Contains(waits.body, "<form") {
			t.Errorf("waiting: %d %s", waits.status, waits.body)
		}
		if r, _ := s.browse(page+"&again=yes", nil); !strings.Contains(r.body, `value="typo@example.org"`) {
			t.Errorf("another address: %d %s", r.status, r.body)
		}
		s.wait(time.Minute)
		link := send("alice@example.org")
		s.click(wrong) // whoever has it proves nothing any more
		if r, _ := s.browse(page, nil); strings.Contains(r.body, "onAuthDone") || !strings.Contains(r.body, "alice@example.org") {
			t.Errorf("by an address that was given up: %d %s", r.status, r.body)
		}
		s.wait(10 * time.Minute)
		if r, _ := s.browse(page, nil); !strings.Contains(r.body, `content="60"`) {
			t.Errorf("after ten minutes: %d %s", r.status, r.body)
		}
		newest := send("alice@example.org") // as often as somebody asks
		if r, _ := s.browse(link, nil); r.status != 400 {
			t.Errorf("the link of the mail before: %d %s", r.status, r.body)
		}
		s.click(newest)
		if r, _ := s.browse(page, nil); r.status != 200 || !strings.Contains(r.body, "window.onAuthDone();") || strings.Contains(r.body, "refresh") {
			t.Errorf("after the click: %d %s", r.status, r.body)
		}
		// What is done is done, and sends no more mails.
		if r, _ := s.browse(page, url.Values{"email": {"mallory@example.org"}}); r.status != 303 {
			t.Errorf("once more: %d %s", r.status, r.body)
		}
		box.empty(t)
		if r := register("alice", session); r.status != 401 || r.field("completed") != "" {
			t.Errorf("with the second stage only: %d %s", r.status, r.body)
		}
		s.browse(v3+"/auth/m.login.terms/fallback/web?session="+session, url.Values{"agree": {"yes"}})
		token := register("alice", session).field("access_token")
		if r := s.must("GET", v3+"/account/3pid", token, ""); !strings.Contains(r.body, `"address":"alice@example.org"`) || strings.Contains(r.body, "typo") {
			t.Errorf("addresses: %s", r.body)
		}
		if r := register("bob", session); r.status != 401 {
			t.Errorf("a second account: %d %s", r.status, r.body)
		}
		// Another's address is refused, as where clients ask for the mail.
		other := mailPage(register("bob", "").field("session"))
		if r, _ := s.browse(other, url.Values{"email": {"ALICE@example.org"}}); r.status != 400 || !strings.Contains(r.body, "has this address already") {
			t.Errorf("somebody's address: %d %s", r.status, r.body)
		}
		s.wait(25 * time.Hour)
		if r, _ := s.browse(other, nil); r.status != 400 || strings.Contains(r.body, "<form") {
			t.Errorf("a session of yesterday: %d %s", r.status, r.body)
		}
	})
}

func TestResetPasswordInBrowser(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed, func(o *accounts.Options) { o.HideAddresses = true })
		alice := s.register("alice")
		sid := s.verify(box, "/account/3pid", "alice@example.org", "add")
		s.must("POST", v3+"/account/3pid/add", alice, `{"sid":"`+sid+`","client_secret":"add","auth":`+passwordAuth("alice", password)+`}`)
		reset := func(session string) reply {
			return s.do("POST", v3+"/account/password", "", `{"new_password":"battery staple","auth":{"session":"`+session+`"}}`)
		}
		session := reset("").field("session")
		page := mailPage(session)
		// Who is unknown is told so in the mail alone.
		unknown, _ := s.browse(page, url.Values{"email": {"unknown@example.org"}})
		if l := <-box.letters; !strings.Contains(l.text, "There is none") || link.MatchString(l.text) {
			t.Errorf("the letter: %s", l.text)
		}
		stranger, _ := s.browse(page, nil)
		known, _ := s.browse(page, url.Values{"email": {"alice@example.org"}})
		owner, _ := s.browse(page, nil)
		nonce := regexp.MustCompile(`nonce="[^"]*"`)
		plain := func(body string) string { return nonce.ReplaceAllString(body, "") }
		if unknown != known || plain(strings.ReplaceAll(stranger.body, "unknown@", "alice@")) != plain(owner.body) {
			t.Errorf("the pages differ: %v and %v, %s and %s", unknown, known, stranger.body, owner.body)
		}
		if r := reset(session); r.status != 401 {
			t.Errorf("before the click: %d %s", r.status, r.body)
		}
		s.click(box.next(t, "alice@example.org"))
		if r, _ := s.browse(page, nil); !strings.Contains(r.body, "window.onAuthDone();") {
			t.Errorf("after the click: %d %s", r.status, r.body)
		}
		if r := reset(session); r.status != 200 {
			t.Fatalf("after the click: %d %s", r.status, r.body)
		}
		s.must("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"battery staple"}`)
		if r := reset(session); r.status != 401 {
			t.Errorf("a second time: %d %s", r.status, r.body)
		}
	})
}

func TestEmailPageRefuses(t *testing.T) {
	box, mailed := withMail(t)
	s := newAccountServer(t, t.TempDir()+"/test.db", mailed)
	alice := s.register("alice")
	s.logIn("alice", "OTHER")
	registers := s.do("POST", v3+"/register", "", `{"username":"bob","password":"`+password+`"}`).field("session")
	removes := s.do("DELETE", v3+"/devices/OTHER", alice, `{}`).field("session")
	// Neither removing a device nor registering here wants an address.
	for _, session := range []string{registers, removes, "guess", ""} {
		for _, form := range []url.Values{nil, {"email": {"alice@example.org"}}} {
			if r, _ := s.browse(mailPage(session), form); r.status != 400 || strings.Contains(r.body, "<form") {
				t.Errorf("session %q: %d %s", session, r.status, r.body)
			}
		}
	}
	box.empty(t)
	silent := newAccountServer(t, t.TempDir()+"/test.db")
	if r, _ := silent.browse(mailPage("guess"), nil); r.status != 404 {
		t.Errorf("without a relay: %d %s", r.status, r.body)
	}
}
