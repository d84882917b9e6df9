package federation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"trestle/homeserver/federation"
	"trestle/homeserver/media"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
)

func (w *world) remote(guard outbound.Options) *federation.Remote {
	guard.Authorities, guard.Redirects = w.authority.Pool(), 3
	guard.Check = func(u *url.URL) error {
		if u.Scheme != "https" {
			return outbound.ErrRefused
		}
		return nil
	}
	return federation.NewRemote(w.client(), outbound.New(guard).Client())
}

var loopback = outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// twoParts is an answer with metadata and content.
func twoParts(header, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
		fmt.Fprintf(w, "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n%s\r\n%s\r\n--b--\r\n", header, content)
	}
}

func TestMediaOfOthers(t *testing.T) {
	w := newWorld(t)
	p, store := w.peer(nil), w.peer(nil)
	remote := w.remote(loopback)
	uri := media.URI{Server: p.name, ID: "abc"}
	download := func(answer http.HandlerFunc) (*media.Download, string, error) {
		t.Helper()
		p.set(answer)
		d, err := remote.Download(t.Context(), uri)
		if err != nil {
			return nil, "", err
		}
		defer d.Body.Close()
		text, err := io.ReadAll(d.Body)
		return d, string(text), err
	}
	var asked []*http.Request
	var mu sync.Mutex
	d, text, err := download(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r)
		mu.Unlock()
		twoParts("Content-Type: image/png\r\nContent-Disposition: inline; filename*=UTF-8''%C3%A4.png\r\n", "bytes")(w, r)
	})
	if err != nil || text != "bytes" || d.ContentType != "image/png" || d.FileName != "ä.png" {
		t.Errorf("%+v %q %v", d, text, err)
	}
	if len(asked) != 1 || asked[0].URL.Path != "/_matrix/federation/v1/media/download/abc" || !strings.HasPrefix(asked[0].Header.Get("Authorization"), "X-Matrix ") {
		t.Errorf("asked was %v", asked)
	}

	// Servers that keep their media elsewhere.
	store.set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("it is told what is for the server")
		}
		w.Header().Set("Content-Type", "image/gif")
		_, _ = io.WriteString(w, "elsewhere")
	})
	at := "https://" + string(store.name)
	if d, text, err := download(twoParts("Location: "+at+"/x\r\n", "")); err != nil || text != "elsewhere" || d.ContentType != "image/gif" {
		t.Errorf("elsewhere: %+v %q %v", d, text, err)
	}
	inside := w.remote(outbound.Options{})
	before := store.asked()
	p.set(twoParts("Location: "+at+"/x\r\n", ""))
	if d, err := inside.Download(t.Context(), uri); err == nil || store.asked() != before {
		t.Errorf("a private address is reached: %+v %v", d, err)
	}

	// Servers of former days.
	old := func(answer http.HandlerFunc, refusal http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/_matrix/media/v3/download/"+string(p.name)+"/abc" {
				refusal(w, r)
				return
			}
			if r.URL.Query().Get("allow_remote") != "false" || r.Header.Get("Authorization") != "" {
				t.Errorf("asked is %s", r.URL)
			}
			answer(w, r)
		}
	}
	bytes := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Disposition", `attachment; filename="a.txt"`)
		_, _ = io.WriteString(w, "old")
	}
	for what, refusal := range map[string]http.HandlerFunc{
		"it says so": answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`), "a proxy says so": http.NotFound, "it does not say so": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 400) },
	} {
		if d, text, err := download(old(bytes, refusal)); err != nil || text != "old" || d.FileName != "a.txt" || d.ContentType != "text/plain" {
			t.Errorf("%s: %+v %q %v", what, d, text, err)
		}
	}
	before = p.asked()
	if _, _, err := download(old(bytes, answers(404, `{"errcode":"M_NOT_FOUND","error":"no"}`))); matrix.Code(err) != "M_NOT_FOUND" || p.asked() != before+1 {
		t.Errorf("what is not there: %v", err)
	}

	for what, c := range map[string]struct {
		answer http.HandlerFunc
		code   string
	}{
		"no parts":          {answers(200, `{}`), "M_UNKNOWN"},
		"no boundary":       {typed("multipart/mixed", "--b"), "M_UNKNOWN"},
		"one part":          {typed("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b--\r\n"), "M_UNKNOWN"},
		"metadata for ever": {typed("multipart/mixed; boundary=b", "--b\r\n\r\n"+strings.Repeat("{", 1<<20)+"\r\n--b\r\n\r\nx\r\n--b--"), "M_UNKNOWN"},
		"a page":            {typed("text/html", "<h1>"), "M_UNKNOWN"},
		"a plain address":   {twoParts("Location: http://"+string(store.name)+"/x\r\n", ""), "M_UNKNOWN"},
		"a file":            {twoParts("Location: file:///etc/passwd\r\n", ""), "M_UNKNOWN"},
		"a loop":            {twoParts("Location: "+at+"/loop\r\n", ""), "M_UNKNOWN"},
		"not yet":           {answers(504, `{"errcode":"M_NOT_YET_UPLOADED","error":"wait"}`), "M_NOT_YET_UPLOADED"},
		"too often":         {answers(429, `{"errcode":"M_LIMIT_EXCEEDED","error":"wait","retry_after_ms":10}`), "M_LIMIT_EXCEEDED"},
		"a server's secret": {answers(401, `{"errcode":"M_UNAUTHORIZED","error":"no"}`), "M_UNKNOWN"},
	} {
		if d, text, err := download(c.answer); matrix.Code(err) != c.code {
			t.Errorf("%s: %+v %q %v", what, d, text, err)
		}
	}
	// Who asked goes away: that is no fault of the server's, and others begin again.
	ctx, cancel := context.WithCancel(t.Context())
	p.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
		_, _ = io.WriteString(w, "--b\r\n\r\n{}\r\n--b\r\n\r\nhalf of i")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	d, err = remote.Download(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(d.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	_ = d.Body.Close()
	// What breaks off is not taken for all of it.
	if _, text, err := download(typed("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n\r\nhalf of i")); err == nil {
		t.Errorf("%q is all", text)
	}
}

func typed(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, text)
	}
}

func TestRoomsOfOthers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	remote := w.remote(loopback)
	ask := func(q rooms.PublicRoomsQuery, answer string) (*federation.PublicRooms, *http.Request, string, error) {
		t.Helper()
		var seen *http.Request
		var body []byte
		p.set(func(w http.ResponseWriter, r *http.Request) {
			seen = r
			body, _ = io.ReadAll(r.Body)
			answers(200, answer)(w, r)
		})
		page, err := remote.PublicRooms(t.Context(), p.name, q)
		return page, seen, string(body), err
	}
	page, r, _, err := ask(rooms.PublicRoomsQuery{Limit: 5, Since: "a/b", Network: "n"}, fmt.Sprintf(`{"chunk":[
		{"room_id":"!a:b","name":"A\u0000","topic":%q,"canonical_alias":"no alias","avatar_url":"https://x","num_joined_members":-1,"world_readable":true,"x":1},
		{"room_id":"no room"},{"room_id":"!b:c","canonical_alias":"#b:c","avatar_url":"mxc://c/d","join_rule":"knock","room_type":"m.space","num_joined_members":7,"guest_can_join":true}],
		"next_batch":"n","prev_batch":%q,"total_room_count_estimate":-3}`, strings.Repeat("ö", 20_000), strings.Repeat("x", 5000)))
	if err != nil || r.Method != http.MethodGet || r.URL.RawQuery != "limit=5&since=a%2Fb&third_party_instance_id=n" {
		t.Fatalf("%v %v", r, err)
	}
	topic := strings.Repeat("ö", 8<<10)
	want := &federation.PublicRooms{Next: "n", Total: 2, Chunk: []federation.PublicRoom{
		{RoomID: "!a:b", Name: "A", Topic: topic, JoinRule: "public", WorldReadable: true},
		{RoomID: "!b:c", CanonicalAlias: "#b:c", AvatarURL: "mxc://c/d", JoinRule: "knock", RoomType: "m.space", Members: 7, GuestCanJoin: true},
	}}
	if fmt.Sprintf("%+v", page) != fmt.Sprintf("%+v", want) {
		t.Errorf("%.300s", fmt.Sprintf("%+v", page))
	}
	page, r, body, err := ask(rooms.PublicRoomsQuery{Search: "s", RoomTypes: []string{"", "m.space"}, AllNetworks: true}, `{"chunk":null}`)
	if err != nil || r.Method != http.MethodPost || body != `{"filter":{"generic_search_term":"s","room_types":[null,"m.space"]},"include_all_networks":true}` || page.Chunk == nil {
		t.Errorf("%s %v %+v", body, err, page)
	}
	many := strings.TrimSuffix(strings.Repeat(`{"room_id":"!a:b"},`, 2000), ",")
	if page, _, _, err := ask(rooms.PublicRoomsQuery{}, `{"chunk":[`+many+`]}`); err != nil || len(page.Chunk) != 1000 {
		t.Errorf("%d rooms, %v", len(page.Chunk), err)
	}
	for _, nonsense := range []string{`[]`, `{"chunk":{}}`, `{"chunk":[1]}`, `{"chunk":[{"room_id":1}]}`, `{"chunk":[],"x":"` + strings.Repeat("x", 5<<20) + `"}`} {
		if page, _, _, err := ask(rooms.PublicRoomsQuery{}, nonsense); matrix.Code(err) != "M_UNKNOWN" {
			t.Errorf("%.30s: %+v %v", nonsense, page, err)
		}
	}
}

func TestAliasesOfOthers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	remote := w.remote(loopback)
	alias := matrix.RoomAlias("#ä b+c:" + string(p.name))
	servers := make([]string, 150)
	for i := range servers {
		servers[i] = fmt.Sprintf("s%d.example", i)
	}
	servers[0] = "no/name"
	many, err := json.Marshal(servers)
	if err != nil {
		t.Fatal(err)
	}
	p.set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("room_alias") != string(alias) {
			t.Errorf("asked is %s", r.URL)
		}
		answers(200, `{"room_id":"!r","servers":`+string(many)+`}`)(w, r)
	})
	if room, servers, err := remote.Alias(t.Context(), alias); err != nil || room != "!r" || len(servers) != 100 || servers[0] != "s1.example" {
		t.Errorf("%s %v %v", room, servers, err)
	}
	p.set(answers(200, `{"room_id":"!r:x","servers":[]}`))
	if _, servers, err := remote.Alias(t.Context(), alias); err != nil || len(servers) != 1 || servers[0] != p.name {
		t.Errorf("%v %v", servers, err)
	}
	for _, nonsense := range []string{`{}`, `{"room_id":"#r:x","servers":[]}`, `{"room_id":"!r:x","servers":{}}`, `""`} {
		p.set(answers(200, nonsense))
		if room, _, err := remote.Alias(t.Context(), alias); matrix.Code(err) != "M_UNKNOWN" {
			t.Errorf("%s: %s %v", nonsense, room, err)
		}
	}
}

// Profiles are asked for once a minute, by many at once.
func TestProfilesOfOthers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(answers(200, `{"displayname":"A"}`))
	remote := w.remote(loopback)
	user := matrix.NewUserID("a", p.name)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if profile, err := remote.Profile(t.Context(), user, ""); err != nil || string(profile["displayname"]) != `"A"` {
				t.Errorf("%v %v", profile, err)
			}
		})
	}
	all.Wait()
	if p.asked() != 1 {
		t.Errorf("%d requests", p.asked())
	}
	_, _ = remote.Profile(t.Context(), user, "displayname")
	w.pass(61e9)
	_, _ = remote.Profile(t.Context(), user, "")
	if p.asked() != 3 {
		t.Errorf("%d requests", p.asked())
	}
	w.pass(61e9)
	p.set(answers(403, `{"errcode":"M_FORBIDDEN","error":"no"}`))
	if _, err := remote.Profile(t.Context(), user, ""); matrix.Code(err) != "M_FORBIDDEN" {
		t.Errorf("%v", err)
	}
}
