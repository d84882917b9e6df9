package irc_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/bridges/links"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// A public is a bridge whose links can be followed.
type public struct {
	*modern
	site    *httptest.Server
	handler http.Handler
	config  irc.Config
	stop    func()
}

func startPublic(t *testing.T, change func(*irc.Config)) *public {
	t.Helper()
	m := &modern{Homeserver: fakehomeserver.New(t), server: ircv3.Start(t, ircv3.Options{})}
	m.bob = testkit.DialIRC(t, m.server.Addr, "bob")
	m.bob.Join("#trestle")
	p := &public{modern: m}
	p.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }))
	t.Cleanup(p.site.Close)
	c := config(m.Homeserver, m.server.Addr, t.TempDir())
	c.PublicURL = p.site.URL + "/"
	if change != nil {
		change(&c)
	}
	p.config = c
	service, stop := start(t, m.Homeserver, c)
	p.handler, p.stop = service.Public(), stop
	m.bob.Expect(":trestle!", "JOIN")
	m.room = join(t, m.Homeserver, alice, "alice", m.bob)
	m.Upload("cat", fakehomeserver.File{Type: "image/png", Data: []byte("a picture")})
	m.Upload("page", fakehomeserver.File{Type: "text/html", Data: []byte("<script>alert(1)</script>")})
	return p
}

// link is the address in the next line of alice's with something in it.
func (p *public) link(t *testing.T, parts ...string) string {
	t.Helper()
	line := p.bob.Expect(append([]string{":alice!", p.site.URL + irc.PublicPath}, parts...)...)
	address, _, _ := strings.Cut(line[strings.Index(line, p.site.URL):], ")")
	return strings.Fields(address)[0]
}

// get follows a link without a login.
func (p *public) get(t *testing.T, method, address, accept string) (status int, h http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}

func TestFilesNeedNoLogin(t *testing.T) {
	p := startPublic(t, func(c *irc.Config) { c.LinkMaxSize = 100 })
	event := p.send(`{"msgtype":"m.image","body":"a\ncat/Котик 1.png","url":"mxc://localhost/cat"}`)
	address := p.link(t, "/1.png")
	status, h, body := p.get(t, "GET", address, "*/*")
	if status != 200 || body != "a picture" || h.Get("Content-Type") != "image/png" || !strings.HasPrefix(h.Get("Content-Disposition"), "inline; filename*=utf-8''%D0%9A") ||
		h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox; default-src 'none'") {
		t.Errorf("%d %v %q", status, h, body)
	}
	if status, h, body := p.get(t, "HEAD", address, "*/*"); status != 200 || body != "" || h.Get("Content-Length") != "9" {
		t.Errorf("HEAD: %d %v", status, h)
	}
	p.send(`{"msgtype":"m.file","body":"x.html","url":"mxc://localhost/page"}`)
	if _, h, _ := p.get(t, "GET", p.link(t, "/x.html"), "*/*"); h.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
		t.Errorf("a page comes as %v", h)
	}
	p.send(`{"msgtype":"m.text","body":"x","format":"org.matrix.custom.html","formatted_body":"see <img src=\"mxc://localhost/page\" alt=\"one\"> and <img src=\"mxc://localhost/cat\" alt=\"two\">"}`)
	if status, _, body := p.get(t, "GET", strings.Fields(p.link(t, "and two (") + " ")[0], "*/*"); status != 200 || !strings.Contains(body, "script") {
		t.Errorf("the first picture is %d %q", status, body)
	}
	p.send(`{"msgtype":"m.image","body":"look at\nthis","filename":"cat.png","url":"mxc://localhost/cat"}`)
	p.link(t, ":sent cat.png: ", "/cat.png")
	p.bob.Expect(":alice!", "PRIVMSG #trestle :look at")
	p.bob.Expect(":alice!", "PRIVMSG #trestle :this")
	p.Upload("big", fakehomeserver.File{Type: "image/png", Data: make([]byte, 101)})
	p.send(`{"msgtype":"m.image","body":"big.png","url":"mxc://localhost/big"}`)
	if status, _, _ := p.get(t, "GET", p.link(t, "/big.png"), "*/*"); status != 403 {
		t.Errorf("a file that is too large: %d", status)
	}
	for _, uri := range []string{"mxc://localhost/a%2f", "mxc://localhost/", "mxc:///x", "http://x/y", "mxc://a b/c", ""} {
		p.send(`{"msgtype":"m.image","body":"none.png","url":%q}`, uri)
		if line := p.bob.Expect(":alice!", "sent none.png"); strings.Contains(line, irc.PublicPath) {
			t.Errorf("%q has a link: %q", uri, line)
		}
	}

	p.Redact(p.room, alice, event)
	if status, _, body := p.get(t, "GET", address, "*/*"); status != 410 || strings.Contains(body, "picture") {
		t.Errorf("after its redaction: %d %q", status, body)
	}
	forged := links.NewSigner([]byte("guessed")).ID(links.Link{Kind: 'f', Portal: 1, Event: "$e1", Expires: time.Now().Add(time.Hour)})
	for path, want := range map[string]int{
		"media/" + forged + "/x": 404, "media/x/y": 404, "text/" + forged: 404, "media/": 404, "": 404, "text/" + strings.Split(address, "/")[6]: 404,
	} {
		if status, _, _ := p.get(t, "GET", p.site.URL+irc.PublicPath+path, "*/*"); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _, _ := p.get(t, "POST", address, "*/*"); status != 405 {
		t.Errorf("POST: %d", status)
	}
	p.SetDown(true)
	if status, _, _ := p.get(t, "GET", address, "*/*"); status != 502 {
		t.Errorf("while the homeserver is away: %d", status)
	}
	p.SetDown(false)
}

// A file that breaks off is not taken for the whole, and whoever asks next is served.
func TestFilesThatBreakOff(t *testing.T) {
	p := startPublic(t, nil)
	p.site.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Upload("half", fakehomeserver.File{Type: "image/png", Data: []byte("half"), Missing: 10})
	p.send(`{"msgtype":"m.image","body":"half.png","url":"mxc://localhost/half"}`)
	address := p.link(t, "/half.png")
	for range 70 {
		resp, err := http.Get(address)
		if err != nil {
			continue // it broke off before anything had come
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Fatalf("%d %q, and nothing is missing", resp.StatusCode, body)
		}
	}
	p.send(`{"msgtype":"m.image","body":"cat.png","url":"mxc://localhost/cat"}`)
	if status, _, body := p.get(t, "GET", p.link(t, "/cat.png"), "*/*"); status != 200 || body != "a picture" {
		t.Errorf("%d %q", status, body)
	}
}

func TestLongTextsAreLinks(t *testing.T) {
	p := startPublic(t, func(c *irc.Config) { c.Networks[0].MaxLines = 3 })
	text := "first <b>\n" + strings.Repeat("another line\n", 30) + "last"
	event := p.send(`{"msgtype":"m.text","body":%q}`, text)
	address := p.link(t, ":first <b> (32 lines, all of it: ")
	status, h, body := p.get(t, "GET", address, "*/*")
	if status != 200 || body != text || h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v %q", status, h, body)
	}
	if _, h, body := p.get(t, "GET", address, "text/html,*/*"); !strings.Contains(body, "first &lt;b&gt;") || !strings.Contains(body, "<strong>alice</strong> in #trestle") ||
		h.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page is %v %s", h, body)
	}
	p.Redact(p.room, alice, event)
	if status, _, body := p.get(t, "GET", address, "*/*"); status != 410 || strings.Contains(body, "another") {
		t.Errorf("after its redaction: %d %q", status, body)
	}
	p.send(`{"msgtype":"m.text","body":%q}`, strings.Repeat("Привет ", 4000))
	if status, _, body := p.get(t, "GET", p.link(t, "all of it: "), "*/*"); status != 200 || body != strings.Repeat("Привет ", 4000) {
		t.Errorf("a very long text: %d, %d bytes", status, len(body))
	}
}

// What is so long that nothing of it is to be seen before it is cut is a link as well.
func TestLongTextsThatBeginWithNothing(t *testing.T) {
	p := startPublic(t, nil)
	for _, nothing := range []string{" ", "\u00a0", "\n", "\u0002"} {
		text := strings.Repeat(nothing, 20_000) + "there"
		p.send(`{"msgtype":"m.text","body":%s}`, mustJSON(text))
		if nothing == "\n" || nothing == "\u0002" { // which IRC does not have
			p.bob.Expect(":alice!", "PRIVMSG #trestle :there")
			continue
		}
		if status, _, body := p.get(t, "GET", p.link(t, ":a long text: "), "*/*"); status != 200 || body != text {
			t.Errorf("%q: %d, %d bytes", nothing, status, len(body))
		}
	}
	p.send(`{"msgtype":"m.text","body":"x","format":"org.matrix.custom.html","formatted_body":%s}`, mustJSON("<pre>"+strings.Repeat(" ", 20_000)+"there</pre>"))
	p.link(t, ":a long text: ")
}

func TestTheTextOfAnEditGoesWithTheMessage(t *testing.T) {
	p := startPublic(t, func(c *irc.Config) { c.Networks[0].MaxLines, c.Networks[0].Edits = 2, "text" })
	event := p.send(`{"msgtype":"m.text","body":"short"}`)
	p.bob.Expect(":alice!", "short")
	p.send(`{"msgtype":"m.text","body":"* x","m.new_content":{"msgtype":"m.text","body":"a\nb\nc\nd"},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, event)
	address := p.link(t, ":* a (4 lines")
	p.stop() // the key outlives the process
	service, _ := start(t, p.Homeserver, p.config)
	p.handler = service.Public()
	if status, _, body := p.get(t, "GET", address, "*/*"); status != 200 || body != "a\nb\nc\nd" {
		t.Errorf("%d %q", status, body)
	}
	p.Redact(p.room, alice, event)
	if status, _, _ := p.get(t, "GET", address, "*/*"); status != 410 {
		t.Errorf("after the redaction of what it edits: %d", status)
	}
}

func TestLinksExpire(t *testing.T) {
	p := startPublic(t, func(c *irc.Config) { c.LinkLifetime = -2 * time.Minute })
	p.send(`{"msgtype":"m.image","body":"cat.png","url":"mxc://localhost/cat"}`)
	if status, _, body := p.get(t, "GET", p.link(t, "/cat.png"), "*/*"); status != 410 || !strings.Contains(body, "expired") {
		t.Errorf("%d %q", status, body)
	}
}
