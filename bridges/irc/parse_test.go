package irc

import (
	"strings"
	"testing"
	"unicode/utf8"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

func FuzzPoll(f *testing.F) {
	f.Add([]byte(`{"m.poll":{"kind":"m.disclosed","question":{"m.text":[{"body":"Tea?"}]},"answers":[{"m.id":"a","m.text":[{"body":"Yes"}]}]}}`))
	f.Add([]byte(`{"org.matrix.msc3381.poll.start":{"question":{"body":"x\ny"},"answers":[{"id":"a","org.matrix.msc1767.text":"\u0001"}]}}`))
	f.Add([]byte(`{"m.selections":["a"],"m.relates_to":{"event_id":"$x"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if p, ok := parsePoll(content); ok && (len(p.Answers) > maxPollAnswers || len(p.text()) > (maxPollAnswers+1)*(maxPollText+20)) {
			t.Fatalf("%d answers, %d bytes", len(p.Answers), len(p.text()))
		}
		if _, answers := parseVote(content); len(answers) > maxPollAnswers {
			t.Fatalf("%d votes", len(answers))
		}
	})
}

func FuzzNamesOfFiles(f *testing.F) {
	f.Add("cat.png", "mxc://localhost/cat")
	f.Add("../../etc/passwd\r\nX: y", "mxc://h/../x")
	f.Add("Котик 1.tar.gz", "mxc://h:8448/a_b-C")
	f.Fuzz(func(t *testing.T, name, uri string) {
		plain := plainName(name)
		if plain == "" || len(plain) > maxName+12 || strings.Trim(plain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || strings.HasPrefix(plain, ".") {
			t.Fatalf("%q became %q", name, plain)
		}
		full := fileName(&event.MessageEventContent{Body: name})
		if full == "" || len(full) > 255 || strings.ContainsAny(full, "/\\\r\n\x00") || !utf8.ValidString(full) {
			t.Fatalf("%q is called %q", name, full)
		}
		if server, media, ok := mediaID(uri); ok && "mxc://"+server+"/"+media != uri {
			t.Fatalf("%q is %q and %q", uri, server, media)
		}
		files(&event.MessageEventContent{Format: event.FormatHTML, FormattedBody: name, URL: id.ContentURIString(uri)})
	})
}

func FuzzReactionKey(f *testing.F) {
	f.Add("👍", []byte(`{"shortcode":":x:"}`))
	f.Add("mxc://x/y", []byte(`{"com.beeper.reaction.shortcode":"\u0000a\r\nQUIT"}`))
	f.Fuzz(func(t *testing.T, key string, content []byte) {
		got := reactionKey(key, content)
		if len(got) > maxReaction+len("…") || strings.ContainsAny(got, "\x00\x01\r\n") || !utf8.ValidString(got) {
			t.Fatalf("%q became %q", key, got)
		}
	})
}
