package sender_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"trestle/appservice/sender"
	"trestle/internal/testkit"
	"trestle/registration"
)

// Services from before the versioned routes and the Authorization header get
// their transactions too; each detour is taken once and then remembered.
func TestOldServices(t *testing.T) {
	for name, old := range map[string]struct{ paths, token bool }{
		"paths": {true, false}, "token": {false, true}, "both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			as, reg := fake(t, "irc")
			as.OldPaths, as.OldToken = old.paths, old.token
			s := start(t, w, sender.Options{Registry: registry(t, reg)})
			for i := range 3 {
				w.say(room, "@irc_x:"+server)
				as.Until(t, i+1)
			}
			for _, a := range as.Attempts() {
				if a.Repeat || a.Legacy != old.paths {
					t.Errorf("attempt %+v", a)
				}
			}
			if st := s.Status()[0]; st.Failures != 0 {
				t.Errorf("the detours count as failures: %+v", st)
			}
		})
	}
}

// A log is a service that notes requests.
type requestLog struct{ lines chan string }

func (l requestLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.lines <- r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type")
	if strings.Contains(r.URL.Path, "refused") {
		w.WriteHeader(http.StatusForbidden)
	}
}

func TestWhereTheTokenGoes(t *testing.T) {
	for mode, want := range map[registration.QueryToken]string{
		registration.QueryTokenAuto:   "",
		registration.QueryTokenNever:  "",
		registration.QueryTokenAlways: "?access_token=",
	} {
		log := requestLog{make(chan string, 10)}
		srv := httptest.NewServer(log)
		defer srv.Close()
		w := newWorld()
		reg := service(t, "irc", srv.URL+"/below")
		reg.QueryToken = mode
		start(t, w, sender.Options{Registry: registry(t, reg)})
		w.say(room, "@irc_x:"+server)
		line := <-log.lines
		if want != "" {
			want += reg.HSToken
		}
		if !strings.HasPrefix(line, "PUT /below/_matrix/app/v1/transactions/") ||
			!strings.HasSuffix(line, "-1"+want+" Bearer "+reg.HSToken+" application/json") {
			t.Errorf("%s: %s", mode, line)
		}
	}
}

func TestTokenStaysOutOfTheURLIfTheOperatorSaysSo(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	as.OldToken = true
	reg.QueryToken = registration.QueryTokenNever
	s := start(t, w, sender.Options{Registry: registry(t, reg)})
	if _, err := s.Ping(t.Context(), "irc", ""); err == nil {
		t.Error("a service that looks only there was satisfied")
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "as.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	as := testkit.NewFakeAS(t, "")
	reg := service(t, "irc", "unix://"+path)
	as.HSToken = reg.HSToken
	srv := &http.Server{Handler: as}
	go func() { _ = srv.Serve(listener) }()
	defer srv.Close()
	w := newWorld()
	start(t, w, sender.Options{Registry: registry(t, reg)})
	w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
}

func TestRedirectsAndEndlessAnswers(t *testing.T) {
	w := newWorld()
	var target *httptest.Server
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_matrix/app/v1/ping" {
			http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
			return
		}
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer evil.Close()
	target = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the token went where a redirect led")
	}))
	defer target.Close()
	s := start(t, w, sender.Options{Registry: registry(t, service(t, "irc", evil.URL))})
	if _, err := s.Ping(t.Context(), "irc", ""); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	// An answer without an end is cut off, and was 200.
	found, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true))
	if !found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}
