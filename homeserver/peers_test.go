package homeserver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A federated server is one that others reach, by TLS on this machine.
type federated struct {
	t         testing.TB
	server    *homeserver.Server
	authority *testkit.Authority
	name      string
	clients   string // base URL of the client API
	others    *httptest.Server
}

// federate starts a homeserver whose federation API the specification judges.
func federate(t testing.TB, authority *testkit.Authority, database string, change func(*config.Config)) *federated {
	t.Helper()
	f := &federated{t: t, authority: authority, others: httptest.NewUnstartedServer(nil)}
	f.name = f.others.Listener.Addr().String()
	server := open(t, database, func(c *config.Config) {
		c.ServerName, c.FederationListen, c.CAFile = matrix.ServerName(f.name), []string{f.name}, authority.File()
		c.Federation.AllowAddresses = []string{"127.0.0.0/8"}
		if change != nil {
			change(c)
		}
	})
	f.server = server
	f.others.Config.Handler = server.FederationHandler()
	if _, measured := t.(*testing.B); !measured {
		f.others.Config.Handler = testkit.SpecServer(t, f.others.Config.Handler)
	}
	f.others.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Certificate("127.0.0.1")}}
	f.others.StartTLS()
	t.Cleanup(f.others.Close)
	clients := httptest.NewServer(server.Handler())
	t.Cleanup(clients.Close)
	f.clients = clients.URL
	return f
}

// get asks the client API as somebody, or nobody.
func (f *federated) get(who *mautrix.Client, path string) (int, string, http.Header) {
	f.t.Helper()
	return f.ask(who, http.MethodGet, path, "")
}

func (f *federated) ask(who *mautrix.Client, method, path, body string) (int, string, http.Header) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.clients+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if who != nil {
		r.Header.Set("Authorization", "Bearer "+who.AccessToken)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	judged := &http.Client{Transport: testkit.SpecTransport(f.t, http.DefaultTransport)}
	response, err := judged.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, string(raw), response.Header
}

// want asks for an answer that is JSON.
func (f *federated) want(who *mautrix.Client, method, path, body string, status int, into any) {
	f.t.Helper()
	got, text, _ := f.ask(who, method, path, body)
	if got != status {
		f.t.Errorf("%s %s: %d %s, want %d", method, path, got, text, status)
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		f.t.Errorf("%s: %v", text, err)
	}
}

// refused asks for what is not there.
func (f *federated) refused(who *mautrix.Client, path string, status int, code string) {
	f.t.Helper()
	var e struct {
		Code string `json:"errcode"`
	}
	f.want(who, http.MethodGet, path, "", status, &e)
	if e.Code != code {
		f.t.Errorf("%s: %s, want %s", path, e.Code, code)
	}
}

func picture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, 300, 200))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const v3, v1 = "/_matrix/client/v3", "/_matrix/client/v1"

// Users of one server see what is public on another one.
func TestServersKnowEachOther(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		here, there := federate(t, authority, database, nil), federate(t, authority, testkit.SQLite(t), nil)
		alice, bob := login(t, here.clients, "alice"), login(t, there.clients, "bob")

		// Profiles.
		if err := bob.SetDisplayName(ctx, "Bob “the <b>builder</b>”"); err != nil {
			t.Fatal(err)
		}
		var profile map[string]any
		here.want(nil, "GET", v3+"/profile/"+bob.UserID.String(), "", 200, &profile)
		if profile["displayname"] != "Bob “the <b>builder</b>”" {
			t.Errorf("bob is %v", profile)
		}
		here.want(nil, "GET", v3+"/profile/"+bob.UserID.String()+"/displayname", "", 200, &profile)
		here.refused(nil, v3+"/profile/"+bob.UserID.String()+"/org.example.x", 404, "M_NOT_FOUND")
		here.refused(nil, v3+"/profile/@nobody:"+there.name, 404, "M_NOT_FOUND")
		here.refused(nil, v3+"/profile/@bob:127.0.0.1:1", 502, "M_UNKNOWN")

		// Aliases and public rooms.
		var ids []id.RoomID
		for i := range 3 {
			room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{
				Preset: "public_chat", Visibility: "public", Name: fmt.Sprintf("Room %d", i), RoomAliasName: fmt.Sprintf("röom %d/+%%", i),
				CreationContent: map[string]any{"type": []string{"", "m.space", "org.example.x"}[i]},
			})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, room.RoomID)
		}
		var alias struct {
			RoomID  id.RoomID `json:"room_id"`
			Servers []string  `json:"servers"`
		}
		here.want(alice, "GET", v3+"/directory/room/"+url.PathEscape("#röom 1/+%:"+there.name), "", 200, &alias)
		if alias.RoomID != ids[1] || !slices.Equal(alias.Servers, []string{there.name}) {
			t.Errorf("the alias is %+v, not %s", alias, ids[1])
		}
		here.refused(alice, v3+"/directory/room/"+url.PathEscape("#nowhere:"+there.name), 404, "M_NOT_FOUND")
		var page mautrix.RespPublicRooms
		server := "server=" + url.QueryEscape(there.name)
		here.want(nil, "GET", v3+"/publicRooms?limit=2&"+server, "", 200, &page)
		if len(page.Chunk) != 2 || page.NextBatch == "" || page.TotalRoomCountEstimate != 3 {
			t.Errorf("the first page: %+v", page)
		}
		seen := []id.RoomID{page.Chunk[0].RoomID, page.Chunk[1].RoomID}
		since := page.NextBatch
		page = mautrix.RespPublicRooms{}
		here.want(nil, "GET", v3+"/publicRooms?since="+url.QueryEscape(since)+"&"+server, "", 200, &page)
		if len(page.Chunk) != 1 || slices.Contains(seen, page.Chunk[0].RoomID) {
			t.Errorf("the second page: %+v", page)
		}
		for body, want := range map[string]id.RoomID{
			`{"filter":{"generic_search_term":"room 2"}}`: ids[2], `{"filter":{"room_types":["m.space"]}}`: ids[1], `{"filter":{"room_types":[null]}}`: ids[0],
		} {
			page = mautrix.RespPublicRooms{}
			here.want(alice, "POST", v3+"/publicRooms?"+server, body, 200, &page)
			if len(page.Chunk) != 1 || page.Chunk[0].RoomID != want {
				t.Errorf("%s: %+v", body, page)
			}
		}

		// What is for one server alone is not told to others.
		_, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{
			Preset: "public_chat", Visibility: "public", Name: "Among us", RoomAliasName: "us", CreationContent: map[string]any{"m.federate": false},
		})
		if err != nil {
			t.Fatal(err)
		}
		here.refused(alice, v3+"/directory/room/"+url.PathEscape("#us:"+there.name), 404, "M_NOT_FOUND")
		page = mautrix.RespPublicRooms{}
		if here.want(nil, "GET", v3+"/publicRooms?"+server, "", 200, &page); len(page.Chunk) != 3 {
			t.Errorf("others are told of %+v", page)
		}
		page = mautrix.RespPublicRooms{}
		if there.want(nil, "GET", v3+"/publicRooms", "", 200, &page); len(page.Chunk) != 4 {
			t.Errorf("its users are told of %+v", page)
		}

		// Media, which stay here once they have come.
		content := picture(t)
		uploaded, err := bob.UploadMedia(ctx, mautrix.ReqUploadMedia{ContentBytes: content, ContentType: "image/png", FileName: "Bild “ö”.png"})
		if err != nil {
			t.Fatal(err)
		}
		hidden, err := bob.UploadMedia(ctx, mautrix.ReqUploadMedia{ContentBytes: []byte("<script>"), ContentType: "text/html"})
		if err != nil {
			t.Fatal(err)
		}
		at := "/media/download/" + there.name + "/" + uploaded.ContentURI.FileID
		status, got, header := here.get(alice, v1+at)
		if status != 200 || got != string(content) || header.Get("Content-Type") != "image/png" ||
			header.Get("Content-Disposition") != `inline; filename="Bild ___.png"; filename*=UTF-8''Bild%20%E2%80%9C%C3%B6%E2%80%9D.png` {
			t.Errorf("a picture: %d, %d bytes, %v", status, len(got), header)
		}
		if _, _, header := here.get(alice, v1+"/media/download/"+there.name+"/"+hidden.ContentURI.FileID); !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Errorf("a page is shown: %v", header)
		}
		here.refused(alice, v1+"/media/download/"+there.name+"/nothing", 404, "M_NOT_FOUND")
		here.refused(nil, v1+at, 401, "M_MISSING_TOKEN")
		there.others.Close()
		if status, got, _ := here.get(alice, v1+at); status != 200 || got != string(content) {
			t.Errorf("it is not kept: %d", status)
		}
		status, got, header = here.get(alice, v1+"/media/thumbnail/"+there.name+"/"+uploaded.ContentURI.FileID+"?width=32&height=32&method=crop")
		if info, _, err := image.DecodeConfig(strings.NewReader(got)); status != 200 || err != nil || info.Width != 32 || !strings.HasPrefix(header.Get("Content-Type"), "image/") {
			t.Errorf("a thumbnail: %d %v %v", status, info, err)
		}
		here.refused(alice, v3+"/directory/room/"+url.PathEscape("#gone:"+there.name), 502, "M_UNKNOWN")
		here.refused(alice, v3+"/publicRooms?"+server, 502, "M_UNKNOWN")
	})
}

// A server that has no addresses for others asks none.
func TestWithoutFederation(t *testing.T) {
	authority := testkit.NewAuthority(t)
	there := federate(t, authority, testkit.SQLite(t), nil)
	bob := login(t, there.clients, "bob")
	here := &federated{t: t, clients: start(t, testkit.SQLite(t), func(c *config.Config) {
		c.CAFile, c.Federation.AllowAddresses = authority.File(), []string{"127.0.0.0/8"}
	})}
	alice := login(t, here.clients, "alice")
	here.refused(nil, v3+"/profile/"+bob.UserID.String(), 404, "M_NOT_FOUND")
	here.refused(alice, v3+"/directory/room/"+url.PathEscape("#a:"+there.name), 404, "M_NOT_FOUND")
	here.refused(nil, v3+"/publicRooms?server="+there.name, 404, "M_NOT_FOUND")
	here.refused(alice, v1+"/media/download/"+there.name+"/x", 404, "M_NOT_FOUND")
	here.refused(nil, "/.well-known/matrix/server", 404, "M_NOT_FOUND")
}

// The operator decides with whom a server has to do, and private addresses are not reached unless that is said.
func TestServersThatAreDenied(t *testing.T) {
	authority := testkit.NewAuthority(t)
	there := federate(t, authority, testkit.SQLite(t), nil)
	bob := login(t, there.clients, "bob")
	for what, c := range map[string]struct {
		change func(*config.Config)
		status int
		code   string
	}{
		"allowed":           {func(c *config.Config) { c.Federation.AllowServers = []string{"127.0.0.1"} }, 200, ""},
		"denied":            {func(c *config.Config) { c.Federation.DenyServers = []string{"127.0.0.1"} }, 403, "M_FORBIDDEN"},
		"others allowed":    {func(c *config.Config) { c.Federation.AllowServers = []string{"*.example.org"} }, 403, "M_FORBIDDEN"},
		"private addresses": {func(c *config.Config) { c.Federation.AllowAddresses = nil }, 502, "M_UNKNOWN"},
		"denied addresses": {func(c *config.Config) {
			c.Federation.AllowAddresses, c.Federation.DenyAddresses = nil, []string{"127.0.0.1"}
		}, 502, "M_UNKNOWN"},
		"nobody's certificate": {func(c *config.Config) { c.CAFile = "" }, 502, "M_UNKNOWN"},
	} {
		t.Run(what, func(t *testing.T) {
			here := federate(t, authority, testkit.SQLite(t), c.change)
			status, text, _ := here.get(nil, v3+"/profile/"+bob.UserID.String())
			if status != c.status || !strings.Contains(text, c.code) {
				t.Errorf("%d %s", status, text)
			}
		})
	}
}

func TestWellKnownServer(t *testing.T) {
	here := &federated{t: t, clients: start(t, testkit.SQLite(t), func(c *config.Config) { c.WellKnown.Server = "matrix.example.org:443" })}
	if status, text, _ := here.get(nil, "/.well-known/matrix/server"); status != 200 || text != `{"m.server":"matrix.example.org:443"}` {
		t.Errorf("%d %s", status, text)
	}
}
