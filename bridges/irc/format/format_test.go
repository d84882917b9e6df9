package format_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/bridges/irc/format"
)

func TestFromIRC(t *testing.T) {
	mention := func(nick string, _ bool) (string, bool) { return "@irc_" + nick + ":test", nick == "alice" }
	for _, c := range []struct{ name, text, body, html string }{
		{"plain", "hello <b>", "hello <b>", ""},
		{"bold", "\x02bold\x02 not", "bold not", "<strong>bold</strong> not"},
		{"left open", "a \x1ditalic", "a italic", "a <em>italic</em>"},
		{"nested", "\x02a\x1db\x0fc", "abc", "<strong>a<em>b</em></strong>c"},
		{"all", "\x1fu\x1f\x1es\x1e\x11m\x11", "usm", "<u>u</u><del>s</del><code>m</code>"},
		{"escaped", "\x02<script>&\x02", "<script>&", "<strong>&lt;script&gt;&amp;</strong>"},
		{"colour", "\x034red\x03 none", "red none", `<span data-mx-color="#ff0000">red</span> none`},
		{"background", "\x0304,01x", "x", `<span data-mx-color="#ff0000" data-mx-bg-color="#000000">x</span>`},
		{"digits after colour", "\x030412", "12", `<span data-mx-color="#ff0000">12</span>`},
		{"comma after colour", "\x034,no", ",no", `<span data-mx-color="#ff0000">,no</span>`},
		{"hex", "\x04FF8800x\x04y", "xy", `<span data-mx-color="#ff8800">x</span>y`},
		{"colour 99", "\x0399x", "x", ""},
		{"reverse", "\x034,1\x16x", "x", `<span data-mx-color="#000000" data-mx-bg-color="#ff0000">x</span>`},
		{"lines", "a\n\x02b", "a\nb", "a<br><strong>b</strong>"},
		{"controls", "a\x01\x07b\x00c", "abc", ""},
		{"reset in between", "\x02\x0304a\x0fb", "ab", `<span data-mx-color="#ff0000"><strong>a</strong></span>b`},
		{"reverse alone", "\x16x\x16y", "xy", `<span data-mx-color="#ffffff" data-mx-bg-color="#000000">x</span>y`},
		{"spoiler", "\x0301,01he dies\x03.", "he dies.", "<span data-mx-spoiler>he dies</span>."},
		{"each line begins anew", "\x02a\nb", "a\nb", "<strong>a</strong><br>b"},
		{"lines of two encodings", "caf\xe9\nкафе", "café\nкафе", ""},
		{"spaces", "\x02a\x02    b", "a    b", "<strong>a</strong> \u00a0 \u00a0b"},
		{"mention in brackets", "(alice), [alice] @alice", "(alice), [alice] @alice", strings.NewReplacer("A", `<a href="https://matrix.to/#/@irc_alice:test">alice</a>`).Replace("(A), [A] @A")},
		{"no mention", "#alice alice.example.org bob@alice x.alice /alice", "#alice alice.example.org bob@alice x.alice /alice", ""},
		{"mention at the end", "ask alice.", "ask alice.", `ask <a href="https://matrix.to/#/@irc_alice:test">alice</a>.`},
		{"mention", "alice: hi", "alice: hi", `<a href="https://matrix.to/#/@irc_alice:test">alice</a>: hi`},
		{"no mention in links", "http://x/alice alicex", "http://x/alice alicex", ""},
		{"old encoding", "caf\xe9", "café", ""},
	} {
		body, html := format.FromIRC(c.text, format.FromOptions{Mention: mention})
		if body != c.body || html != c.html {
			t.Errorf("%s: %q, %q; want %q, %q", c.name, body, html, c.body, c.html)
		}
		if stripped := format.Strip(format.Decode(c.text)); stripped != c.body {
			t.Errorf("%s: stripped it is %q", c.name, stripped)
		}
	}
}

func TestToIRC(t *testing.T) {
	opts := format.ToOptions{
		User:  func(id string) (string, bool) { return "bob", id == "@irc_bob:test" },
		Room:  func(id string) (string, bool) { return "#go", id == "#irc_go:test" },
		Media: func(mxc string) (string, bool) { return "https://m/" + mxc[6:], true },
	}
	for _, c := range []struct {
		name, html string
		want       []string
	}{
		{"plain", "hello &lt;b&gt;", []string{"hello <b>"}},
		{"bold", "<b>bold</b> not", []string{"\x02bold\x02 not"}},
		{"nested", "<strong>a<em>b</em></strong>c", []string{"\x02a\x1db\x0fc"}},
		{"others", "<u>u</u><del>s</del><code>m</code>", []string{"\x1fu\x1f\x1es\x1e\x11m"}},
		{"paragraphs", "<p>one</p>\n<p>two</p>", []string{"one", "two"}},
		{"breaks", "one<br>two<br/>three", []string{"one", "two", "three"}},
		{"codes end with the line", "<b>one<br>two</b>", []string{"\x02one", "\x02two"}},
		{"white space", "  a \n\n b  ", []string{"a b"}},
		{"pre", "<pre><code>a  b\n\n  c\n</code></pre>", []string{"\x11a  b", "\x11  c"}},
		{"list", "<ul><li>a</li><li>b</li></ul>", []string{"• a", "• b"}},
		{"numbers", `<ol start="3"><li>a</li><li>b</li></ol>`, []string{"3. a", "4. b"}},
		{"quote", "<blockquote><p>a</p>b</blockquote>c", []string{"> a", "> b", "c"}},
		{"heading", "<h1>t</h1>x", []string{"\x02t", "x"}},
		{"reply", "<mx-reply><blockquote>old</blockquote></mx-reply>new", []string{"new"}},
		{"link", `<a href="https://x.org/a">here</a>`, []string{"here (https://x.org/a)"}},
		{"bare link", `<a href="https://x.org/a">https://x.org/a</a>`, []string{"https://x.org/a"}},
		{"script link", `<a href="javascript:alert(1)">x</a>`, []string{"x"}},
		{"pill", `<a href="https://matrix.to/#/@irc_bob:test">Bob B.</a>: hi`, []string{"bob: hi"}},
		{"encoded pill", `<a href="https://matrix.to/#/%40irc_bob%3Atest">Bob</a>`, []string{"bob"}},
		{"stranger", `<a href="https://matrix.to/#/@eve:test">Eve</a>`, []string{"Eve"}},
		{"room", `<a href="https://matrix.to/#/%23irc_go:test">go room</a>`, []string{"#go"}},
		{"image", `<img src="mxc://test/abc" alt="cat">`, []string{"cat (https://m/test/abc)"}},
		{"emoticon", `<img data-mx-emoticon src="mxc://test/abc" alt=":cat:">`, []string{":cat:"}},
		{"colour", `<span data-mx-color="#ff0000">r</span>x`, []string{"\x0304r\x0fx"}},
		{"colour and comma", `<font color="#ff0000">,1</font>`, []string{"\x0304\x02\x02,1"}},
		{"spoiler", `<span data-mx-spoiler="end">he dies</span>`, []string{"(end) \x0301,01he dies"}},
		{"table", "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", []string{"\x02a\x02 | \x02b", "1 | 2"}},
		{"script", "<script>alert(1)</script>x", []string{"x"}},
		{"forged", "a\x02b\x01ACTION\r\nQUIT", []string{"abACTION QUIT"}},
		{"nothing", "<p></p> ", nil},
		{"unclosed items", "<ol><li>a<li>b</ol><p>c<p>d", []string{"1. a", "2. b", "c", "d"}},
		{"list in a list", "<ul><li>a<ol><li>b</li></ol></li><li><p>c</p><p>d</p></li></ul>", []string{"• a", "  1. b", "• c", "  d"}},
		{"quote in a quote", "<blockquote>a<blockquote>b</blockquote></blockquote>", []string{"> a", "> > b"}},
		{"spaces between styles", "<b>a</b> <i>b</i> <u>c <b>d</b></u>", []string{"\x02a\x02 \x1db\x1d \x1fc \x02d"}},
		{"nested links and styles", `<a href="https://x.org"><b>x</b>.org</a> <a href="mailto:a@b.c">a@b.c</a>`, []string{"\x02x\x02.org a@b.c"}},
		{"empty link", `<a href="https://x.org/"></a>`, []string{"https://x.org/"}},
		{"event", `<a href="https://matrix.to/#/!r:test/$e">see</a>`, []string{"see (https://matrix.to/#/!r:test/$e)"}},
		{"matrix URI", `<a href="matrix:u/irc_bob:test?action=chat">Bob</a> <a href="matrix:r/irc_go:test">x</a>`, []string{"bob #go"}},
		{"unknown room", `<a href="https://matrix.to/#/#other:test">other</a>`, []string{"other (https://matrix.to/#/#other:test)"}},
		{"details", "<details><summary>s</summary>t</details>", []string{"\x02s", "t"}},
		{"rule", "a<hr>b", []string{"a", "---", "b"}},
		{"super- and subscript", "x<sup>2</sup> H<sub>2</sub>O", []string{"x^2 H_2O"}},
		{"colours by name", `<font color="red">r</font>`, []string{"\x0304r"}},
		{"nearest colour", `<span data-mx-color="#fe0102">r</span>`, []string{"\x0304r"}},
		{"entities", "&nbsp;&#x2;&#x7f;&#0;&#10;&lt;&nix;", []string{" \ufffd <&nix;"}},
		{"line separators", "a\u2028b", []string{"a b"}},
		{"stray ends", "</b></p></div>x</ul>", []string{"x"}},
		{"unclosed", "<b><i>x", []string{"\x02\x1dx"}},
	} {
		got := format.ToIRC(c.html, opts)
		if !slices.Equal(got.Text, c.want) || got.Cut {
			t.Errorf("%s: %q, want %q", c.name, got.Text, c.want)
		}
	}
}

func TestPlain(t *testing.T) {
	got := format.Plain("one\r\n\r\n\x02two\x01\tthree  \n", format.ToOptions{})
	if want := []string{"one", "two three"}; !slices.Equal(got.Text, want) {
		t.Errorf("%q, want %q", got.Text, want)
	}
	long := format.Plain(strings.Repeat("é", 100), format.ToOptions{MaxBytes: 21})
	if !long.Cut || len(long.Text) != 1 || long.Text[0] != strings.Repeat("é", 10) {
		t.Errorf("cut to %q", long.Text)
	}
}

// What is nested deeper than anybody nests costs no more than other text, and is still
// said.
func TestDeepNesting(t *testing.T) {
	for _, tag := range []string{"<b>", "<blockquote>", "<ul><li>", "<table><tr><td>", "<a href='https://x'>", "<span data-mx-spoiler>", "</b>", "<x-y>"} {
		got := format.ToIRC(strings.Repeat(tag, 60_000)+"the end", format.ToOptions{})
		if len(got.Text) == 0 || !strings.Contains(strings.Join(got.Text, " "), "the end") {
			t.Errorf("%s: %q", tag, got.Text)
		}
	}
}

// Text and formatting that went to Matrix come back as they were.
func TestRoundTrip(t *testing.T) {
	for _, text := range []string{
		"plain", "a \x02bold\x02 word", "\x02\x1dboth\x0f none", "\x0304red\x0f plain", "\x0304,12both\x0f 12",
		"\x0355extended", "\x0304\x02\x02,5", "(why) \x0301,01hidden\x0f shown", "\x11code  with spaces",
		"\x1f\x1ea\x1f b", "<b>&amp; \"quotes\" 'and' such", "https://x.org/?a=b&c=<d>", "日本語 \x02жирный\x02 👨‍👩‍👧‍👦",
	} {
		body, html := format.FromIRC(text, format.FromOptions{})
		if html == "" {
			html = strings.ReplaceAll(strings.ReplaceAll(body, "&", "&amp;"), "<", "&lt;")
		}
		if got := format.ToIRC(html, format.ToOptions{}).Text; !slices.Equal(got, []string{text}) {
			t.Errorf("%q came back as %q by way of %s", text, got, html)
		}
	}
}

func TestDecode(t *testing.T) {
	for raw, want := range map[string]string{
		"naïve":                       "naïve",
		"na\xefve":                    "naïve",
		"\x80 \x93x\x94 \x81":         "€ “x” \ufffd",
		"Привет, ми\xd1":              "Привет, ми\ufffd", // cut by a 512-byte line
		"\x80\x94 em dash – \xf0\x9f": "\ufffd em dash – \ufffd",
		"ends in \xe9":                "ends in é",
	} {
		if got := format.Decode(raw); got != want {
			t.Errorf("Decode(%q) = %q, want %q", raw, got, want)
		}
	}
}

func checkLines(t *testing.T, lines format.Lines) {
	t.Helper()
	for _, line := range lines.Text {
		if line == "" || strings.ContainsAny(line, "\r\n\x00\x01") || !utf8.ValidString(line) {
			t.Errorf("line %q", line)
		}
	}
}

func FuzzToIRC(f *testing.F) {
	f.Add("<b>a<br>b</b><ul><li>c</ul><a href='https://x'>y</a>")
	f.Add("<table><td><pre>\n<span data-mx-color='#123456' data-mx-spoiler>,")
	f.Fuzz(func(t *testing.T, text string) {
		opts := format.ToOptions{MaxBytes: 4096}
		checkLines(t, format.ToIRC(text, opts))
		checkLines(t, format.Plain(text, opts))
	})
}

func FuzzFromIRC(f *testing.F) {
	f.Add("\x02a\x0304,1b\x04ffffffc\x16\x0f")
	f.Add("caf\xe9 \x03,1")
	f.Fuzz(func(t *testing.T, text string) {
		body, html := format.FromIRC(text, format.FromOptions{})
		if !utf8.ValidString(body) || !utf8.ValidString(html) || strings.ContainsAny(body, "\x00\x01\x02\x03") {
			t.Errorf("%q, %q", body, html)
		}
		if html == "" {
			return
		}
		// What went out comes back with the same words.
		back := strings.Fields(format.Strip(strings.Join(format.ToIRC(html, format.ToOptions{}).Text, " ")))
		want := strings.Fields(strings.Map(func(r rune) rune {
			if r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, body))
		if strings.Join(back, "") != strings.Join(want, "") {
			t.Errorf("%q came back as %q", want, back)
		}
	})
}
