package dev_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trestle/appservice/dev"
	"trestle/registration"
)

func TestTransactionsAreKeptOnceAndSentAgain(t *testing.T) {
	folder := t.TempDir()
	reg := registration.Generate("tea", "", "tea_bot")
	var out bytes.Buffer
	serve := func() http.Handler {
		t.Helper()
		store, err := dev.OpenStore(folder)
		if err != nil {
			t.Fatal(err)
		}
		service, err := dev.New(dev.Options{Registration: reg, ServerName: "hs", Store: store, Out: &out})
		if err != nil {
			t.Fatal(err)
		}
		return service.Handler()
	}
	handler := serve()
	ask := func(method, path, token, body string) int {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	const first, second = `{"events": [ {"type":"m.room.message","sender":"@a:hs","content":{"body":"hi\u001b[2J"}}]}`, `{"events":[]}`
	for _, c := range []struct {
		method, path, token, body string
		want                      int
	}{
		{"PUT", "/_matrix/app/v1/transactions/1", "", first, 401},
		{"PUT", "/_matrix/app/v1/transactions/1", "wrong", first, 403},
		{"PUT", "/_matrix/app/v1/transactions/..%2Fb", reg.HSToken, first, 200},
		{"PUT", "/_matrix/app/v1/transactions/..%2Fb", reg.HSToken, first, 200},
		{"PUT", "/_matrix/app/v1/transactions/2", reg.HSToken, `{}`, 400},
		{"PUT", "/_matrix/app/v1/transactions/" + strings.Repeat("x", 300), reg.HSToken, second, 400},
		{"PUT", "/transactions/2?access_token=" + reg.HSToken, "", second, 200},
		{"POST", "/_matrix/app/v1/ping", reg.HSToken, `{}`, 200},
		{"GET", "/_matrix/app/v1/users/@tea_x:hs", reg.HSToken, "", 404},
		{"GET", "/_matrix/app/v1/rooms/%23tea:hs", reg.HSToken, "", 404},
		{"GET", "/_matrix/app/v1/users/nobody", reg.HSToken, "", 400},
		{"GET", "/_matrix/app/v1/thirdparty/user", reg.HSToken, "", 404},
	} {
		if got := ask(c.method, c.path, c.token, c.body); got != c.want {
			t.Errorf("%s %.80s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	for _, want := range []string{`m.room.message @a:hs  {"body":"hi\u001b[2J"}`, "..%2Fb.json", "transaction ../b again", "is there @tea_x:hs? no", "ping"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a sender may write to the terminal")
	}
	handler = serve() // once more, from the folder
	if got := ask("PUT", "/_matrix/app/v1/transactions/2", reg.HSToken, second); got != 200 {
		t.Errorf("after a start: %d", got)
	}
	replayed(t, folder, first, second)
}

// replayed sends all again, and holds it against what came.
func replayed(t *testing.T, folder string, want ...string) {
	t.Helper()
	var got []string
	refuse := false
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got = append(got, string(raw))
		if r.Header.Get("Authorization") != "Bearer hs" || !strings.HasPrefix(r.URL.EscapedPath(), "/base/_matrix/app/v1/transactions/") || refuse {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer other.Close()
	store, err := dev.OpenStore(folder)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := store.Replay(t.Context(), other.URL+"/base/", "hs", &out); err != nil || !slices.Equal(got, want) || !strings.Contains(out.String(), "Sent: 2.") {
		t.Errorf("sent %q, %v\n%s", got, err, &out)
	}
	got, refuse = nil, true
	if err := store.Replay(t.Context(), other.URL, "hs", &out); err == nil || !strings.Contains(err.Error(), "status 418") || len(got) != 1 {
		t.Errorf("refused: %v after %d", err, len(got))
	}
}

func FuzzStore(f *testing.F) {
	f.Add("txn", "000001.x.json")
	f.Add("../..", ".json")
	f.Fuzz(func(t *testing.T, id, stray string) {
		folder := t.TempDir()
		if stray != "" && !strings.ContainsAny(stray, "/\x00") && len(stray) < 100 {
			_ = os.WriteFile(filepath.Join(folder, stray), nil, 0o600)
		}
		store, err := dev.OpenStore(folder)
		if err != nil || id == "" {
			return
		}
		file, fresh, err := store.Keep(id, []byte("{}"))
		if err != nil || !fresh {
			return
		}
		if filepath.Dir(file) != folder {
			t.Fatalf("%q is kept in %s", id, file)
		}
		again, err := dev.OpenStore(folder)
		if err != nil {
			t.Fatal(err)
		}
		if same, fresh, err := again.Keep(id, []byte("{}")); fresh || err != nil || same != file {
			t.Errorf("%q: %s, then %s, %v", id, file, same, err)
		}
	})
}
