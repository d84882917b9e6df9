package adminapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// invited syncs until there is an invite by the server, and returns the room.
func (p *person) invited() (room string) {
	p.t.Helper()
	p.since = ""
	p.syncUntil("invite", func(r reply) bool {
		invites, _ := r.at("rooms", "invite").(map[string]any)
		for id := range invites {
			room = id
		}
		return room != "" && strings.Contains(r.body, "@_server:hs.example")
	})
	return room
}

func TestServerNotices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		notice := map[string]any{"user_id": alice.user, "content": map[string]string{"msgtype": "m.text", "body": "hello"}}
		id := root.must("POST", v1+"/send_server_notice", notice).text("event_id")
		room := alice.invited()
		alice.refused("POST", v3+"/rooms/"+room+"/leave", map[string]any{}, 403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
		alice.refused("PUT", v3+"/rooms/"+room+"/state/m.room.member/"+alice.user, map[string]string{"membership": "leave"}, 403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
		if r := alice.must("GET", v3+"/user/"+alice.user+"/rooms/"+room+"/tags", nil); r.at("tags", "m.server_notice") == nil {
			t.Error(r.body)
		}
		alice.must("POST", v3+"/rooms/"+room+"/join", map[string]any{})
		alice.syncUntil("notice", func(r reply) bool { return strings.Contains(r.body, id) })
		alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/1", map[string]string{"msgtype": "m.text", "body": "x"}, 403, "M_FORBIDDEN")
		alice.must("POST", v3+"/rooms/"+room+"/leave", map[string]any{})
		root.must("POST", v1+"/send_server_notice", notice)
		if again := alice.invited(); again != room {
			t.Errorf("another room: %s", again)
		}
		first := root.must("PUT", v1+"/send_server_notice/1", notice).text("event_id")
		if second := root.must("PUT", v1+"/send_server_notice/1", notice).text("event_id"); first != second || first == "" {
			t.Errorf("%s and %s", first, second)
		}
		root.refused("POST", v1+"/send_server_notice", map[string]any{"user_id": "@none:hs.example", "content": map[string]any{}}, 404, "M_NOT_FOUND")
		root.refused("POST", v1+"/send_server_notice", map[string]any{"content": map[string]any{}}, 400, "M_MISSING_PARAM")
		(&person{server: s}).refused("POST", v3+"/register", map[string]any{
			"username": "_server", "password": password, "auth": map[string]string{"type": "m.login.dummy"},
		}, 400, "M_EXCLUSIVE")
	})
}
