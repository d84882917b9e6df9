package console_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"trestle/appservice"
	"trestle/internal/testkit"
)

const service = "irc <u>"

var page = root + "/appservice?" + url.Values{"id": {service}}.Encode()

// TestStory has an operator find out why nothing arrives, and mend it.
func TestStory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		var well atomic.Bool
		w := newWorld(t, database, func(testkit.Attempt) int {
			if well.Load() {
				return http.StatusOK
			}
			return http.StatusTeapot
		})
		w.talk(`<script>alert("hi")</script>`)
		w.as.UntilAttempt(t, 1)
		b := w.operator()
		b.until(root, "Failing").says(200, "irc &lt;u&gt;", "status 418", "in vain")
		b.open(page).says(200, "Failing", "status 418", "Look inside", "nothing is known yet")
		b.send(root+"/appservice", "id", service, "action", "pause", "reason", "because <u>I</u> can").says(200, "The delivery is paused", "because &lt;u&gt;I&lt;/u&gt; can", "Resume")

		inside := root + "/transaction?" + url.Values{"id": {service}}.Encode()
		b.open(inside).says(200, "Skip to the dead letters", "m.room.create")
		transaction := b.field("transaction")
		b.send(root+"/transaction", "id", service, "transaction", transaction, "reason", " ").says(400, "Say why")
		b.send(root+"/transaction", "id", service, "transaction", "another", "reason", "it is bad").says(409, "not the first")
		b.send(root+"/transaction", "id", service, "transaction", transaction, "reason", "it is <u>bad</u>").says(200, "dead letter now")
		letters := root + "/letters?" + url.Values{"id": {service}}.Encode()
		for _, path := range []string{letters, root + "/letters"} {
			b.open(path).says(200, transaction, "it is &lt;u&gt;bad", "@root:hs.example", "irc &lt;u&gt;")
		}

		letter := root + "/letter?number=1"
		b.open(letter).says(200, "Send it again", "m.room.create", "status 418")
		b.send(root+"/letter", "number", "1", "action", "replay").says(409, "paused")
		b.open(page).send(root+"/appservice", "id", service, "action", "resume").says(200, "The delivery goes on.")
		b.open(letter).send(root+"/letter", "number", "1", "action", "replay").says(200, "status 418") // the service's fault, not the page's
		b.open(letter).send(root+"/letter", "number", "1", "action", "discard").says(400, "Tick")
		b.open(letter).send(root+"/letter", "number", "1", "action", "discard", "sure", "yes", "reason", " ").says(400, "Say why")
		well.Store(true)
		b.open(letter).send(root+"/letter", "number", "1", "action", "replay").says(200, "The service has taken the dead letter.", "There are none")
		b.open(page).send(root+"/appservice", "id", service, "action", "retry").says(200, "The next attempt begins now.")
		b.until(page, "Up to date")
		b.open(inside).says(200, "No transaction waits")
		w.onRecord(b, transaction)
		w.as.UntilSeen(t, "the message", func(list []*appservice.Transaction) bool {
			for _, txn := range list {
				for _, e := range txn.Events {
					if strings.Contains(string(e), "alert") {
						return true
					}
				}
			}
			return false
		})
	})
}

// onRecord finds what the operator of the story has done.
func (w *world) onRecord(b *browser, transaction string) {
	w.t.Helper()
	all := root + "/log?" + url.Values{"id": {service}}.Encode()
	b.open(page).says(200, "What operators have done", "Retried at once", "@root:hs.example", "dead letter 1", root+"/log?id=irc")
	for _, path := range []string{root + "/log", all} {
		b.open(path).says(200, "Paused", "because &lt;u&gt;I&lt;/u&gt; can", "Skipped a transaction", transaction, "it is &lt;u&gt;bad", "Resumed",
			"Sent a dead letter again", "Failed", "status 418", "Done")
		if strings.Contains(b.body, "Say why") || strings.Contains(b.body, "Discarded") || strings.Contains(b.body, "Earlier") {
			w.t.Errorf("%s tells of what was not begun: %s", path, b.body)
		}
		// One that cannot be skipped, three attempts to send it again.
		if failed := strings.Count(b.body, ">Failed<"); failed != 3 {
			w.t.Errorf("%d things have failed: %s", failed, b.body)
		}
	}
	b.open(root).says(200, root+"/log")
	b.open(page)
	for range 51 {
		b.send(root+"/appservice", "id", service, "action", "retry").says(200)
	}
	found := regexp.MustCompile(`href="([^"]*)">Earlier<`).FindStringSubmatch(b.open(all).body)
	if found == nil || strings.Count(b.body, "Retried at once") != 50 {
		w.t.Fatalf("the page has not 50 of them, and where to go on: %s", b.body)
	}
	b.open(html.UnescapeString(found[1])).says(200, "Skipped a transaction")
}

// An operator gives up what waits, and then what is left of a service that is gone.
func TestSkipAllAndForget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w := newWorld(t, database, func(testkit.Attempt) int { return http.StatusTeapot })
		w.talk("hello")
		w.as.UntilAttempt(t, 1)
		b := w.operator()
		b.until(page, "Failing").says(200, "Skip all")
		b.send(root+"/appservice", "id", service, "action", "skip_all", "reason", "a flood").says(400, "Tick")
		b.open(page).send(root+"/appservice", "id", service, "action", "skip_all", "sure", "yes", "reason", " ").says(400, "Say why")
		b.open(page).send(root+"/appservice", "id", service, "action", "skip_all", "sure", "yes", "reason", "a <u>flood</u>").says(200, "All that waited is skipped", "Skipped all that waited", "a &lt;u&gt;flood", "dead letters; ")
		b.until(page, "Up to date")
		if b.open(root); strings.Contains(b.body, "Not registered any more") {
			t.Errorf("nobody is gone: %s", b.body)
		}
		w.call(w.login("root"), "DELETE", "/_trestle/admin/v1/appservices/"+url.PathEscape(service)+"?reason=moved", nil)
		b.open(root).says(200, "Not registered any more", "irc &lt;u&gt;", "dead letter", "Forget it")
		b.send(root+"/forget", "id", service, "reason", "it is gone").says(400, "Tick", "Forget it")
		b.open(root).send(root+"/forget", "id", "nobody", "reason", "it is gone", "sure", "yes").says(404, "Nothing is kept")
		b.open(root).send(root+"/forget", "id", service, "reason", "it is gone", "sure", "yes").says(200, "The service is forgotten.")
		if strings.Contains(b.body, "Not registered any more") {
			t.Errorf("it is still there: %s", b.body)
		}
		b.open(root+"/log").says(200, "Forgot", "it is gone", "position ", " dead letter")
	})
}

func TestPing(t *testing.T) {
	var well atomic.Bool
	w := newWorld(t, "", nil)
	w.as.Query = func(answer http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			answer.WriteHeader(http.StatusUnauthorized)
			_, _ = answer.Write([]byte("not with hs_token_of_<irc>"))
			return
		}
		_, _ = answer.Write([]byte("{}"))
	}
	b := w.operator().open(page)
	b.send(root+"/appservice", "id", service, "action", "ping").says(200, `role="alert"`, "status 401")
	well.Store(true)
	b.open(page).send(root+"/appservice", "id", service, "action", "ping").says(200, "The service has answered a ping after ")
}

// Errors of services hold what they were sent, sometimes.
func TestNoSecrets(t *testing.T) {
	w := newWorld(t, "", nil)
	w.as.Close()
	w.talk("hello")
	b := w.operator()
	b.until(page, "Failing").says(200, "connection refused")
	for _, path := range []string{root, page, root + "/transaction?" + url.Values{"id": {service}}.Encode()} {
		b.open(path) // which looks for tokens
	}
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t, "", nil)
	b := w.operator()
	for _, path := range []string{
		"/appservice", "/appservice?id=<u>x", "/transaction?id=x", "/letters?id=x", "/log?id=x", "/letter?number=7", "/letter?number=<u>", "/live?id=x",
	} {
		b.open(root+path).says(404, `role="alert"`)
	}
	b.open(page).send(root+"/appservice", "id", service, "action", "<u>").says(400)
	b.open(page).send(root+"/appservice", "id", "x", "action", "retry").says(404)
	b.open(page).send(root+"/appservice", "id", service, "action", "pause", "reason", strings.Repeat("x", 2000)).says(400)
	b.open(page).send(root+"/letter", "number", "7", "action", "replay").says(404)
	b.open(page).send(root+"/appservice", "id", "\x00", "action", "retry").says(400)
	b.open(root+"/letters?id="+url.QueryEscape(service)+"&from=x").says(200, "There are none")
	b.open(root+"/log?id="+url.QueryEscape(service)+"&from=-7").says(200, "Nothing about irc &lt;u&gt; yet.")
}
