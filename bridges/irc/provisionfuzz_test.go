package irc

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzLinkRequest has somebody ask for a link in any words: what comes of it can be said to IRC.
func FuzzLinkRequest(f *testing.F) {
	n, _ := audience(f)
	for _, body := range []string{
		`{"matrix_room_id":"!a:b","remote_room_channel":"#c","remote_room_server":"local","op_nick":"bob","key":"k","user_id":"@a:b"}`,
		`{"remote_room_server":"local","remote_room_channel":"#a\r\nQUIT","user_id":7}`, `{"remote_room_server":"local","remote_room_channel":"#c","key":": x"}`, `[]`, `null`, `{`,
	} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, anybody bool) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://irc.test/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		who := provisioner{user: "@alice:localhost", anybody: anybody}
		q, of, err := n.service.readLink(r, &who)
		if err != nil {
			return
		}
		if of == nil || q.Channel == "" || len(q.Channel) > maxRemote || len(q.Key) > maxRemote || strings.ContainsAny(q.Channel+q.Key, " ,\r\n\x00") || strings.HasPrefix(q.Key, ":") {
			t.Errorf("%q is taken as %+v", body, q)
		}
		if !anybody && who.user != "@alice:localhost" {
			t.Errorf("%q makes alice %q", body, who.user)
		}
	})
}
