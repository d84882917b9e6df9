package clientapi_test

import (
	"testing"

	"trestle/internal/testkit"
)

// Who does not want to be invited is not (Client-Server API § Invite
// permission; MSC4155).
func TestInvitesThatAreNotWanted(t *testing.T) {
	const stable, proposed = "m.invite_permission_config", "org.matrix.msc4155.invite_permission_config"
	const early = "org.matrix.msc4380.invite_permission_config"
	testkit.Databases(t, func(t *testing.T, database string) {
		server := newWholeServer(t, database)
		alice, bob := server.person("alice"), server.person("bob")
		sliding := "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
		for _, c := range []struct {
			name, dataType string
			content        any
			blocked, shown bool
		}{
			{"nothing said", stable, map[string]any{}, false, true},
			{"all blocked", stable, map[string]string{"default_action": "block"}, true, false},
			{"all blocked, as it was called first", early, map[string]string{"default_action": "block"}, true, false},
			{"another action", stable, map[string]string{"default_action": "dance"}, false, true},
			{"a wrong type", stable, map[string]any{"default_action": []int{1}}, false, true},
			{"a user blocked", proposed, map[string][]string{"blocked_users": {"@b?b:*"}}, true, false},
			{"a user ignored", proposed, map[string][]string{"ignored_users": {bob.user}}, false, false},
			{"a server blocked", proposed, map[string][]string{"blocked_servers": {"hs.*"}}, true, false},
			{"a server ignored", proposed, map[string][]string{"ignored_servers": {"hs.example"}}, false, false},
			{"a user of a blocked server allowed", proposed, map[string][]string{"allowed_users": {bob.user}, "blocked_servers": {"*"}}, false, true},
			{"a user of an allowed server blocked", proposed, map[string][]string{"blocked_users": {bob.user}, "allowed_servers": {"*"}}, true, false},
			{"switched off", proposed, map[string]any{"enabled": false, "blocked_users": []string{bob.user}}, false, true},
			{"nulls", proposed, map[string]any{"blocked_users": nil, "ignored_servers": nil}, false, true},
			{"ignored altogether", "m.ignored_user_list", map[string]any{"ignored_users": map[string]any{bob.user: map[string]any{}}}, false, false},
		} {
			alice.must("PUT", v3+"/user/"+alice.user+"/account_data/"+c.dataType, c.content)
			room := bob.must("POST", v3+"/createRoom", map[string]string{"preset": "private_chat"}).field("room_id")
			invite := map[string]any{"user_id": alice.user}
			if c.blocked {
				bob.refused("POST", v3+"/rooms/"+room+"/invite", invite, 403, "M_INVITE_BLOCKED")
				bob.refused("PUT", v3+"/rooms/"+room+"/state/m.room.member/"+alice.user, map[string]string{"membership": "invite"}, 403, "M_INVITE_BLOCKED")
				bob.refused("POST", v3+"/createRoom", map[string][]string{"invite": {alice.user}}, 403, "M_INVITE_BLOCKED")
			} else {
				bob.must("POST", v3+"/rooms/"+room+"/invite", invite)
			}
			alice.since = ""
			if _, shown := alice.sync().at("rooms", "invite", room).(map[string]any); shown != c.shown {
				t.Errorf("%s: alice is shown the invite: %t", c.name, shown)
			}
			window := alice.must("POST", sliding, map[string]any{"lists": map[string]any{"all": map[string]any{
				"ranges": [][]int{{0, 99}}, "timeline_limit": 1, "required_state": []any{},
			}}})
			if _, shown := window.at("rooms", room).(map[string]any); shown != c.shown {
				t.Errorf("%s: sliding sync shows alice the invite: %t", c.name, shown)
			}
			alice.must("PUT", v3+"/user/"+alice.user+"/account_data/"+c.dataType, map[string]any{})
		}
		// What was made before it was blocked is not shown any more.
		room := bob.must("POST", v3+"/createRoom", map[string][]string{"invite": {alice.user}}).field("room_id")
		alice.must("PUT", v3+"/user/"+alice.user+"/account_data/"+stable, map[string]string{"default_action": "block"})
		alice.since = ""
		if alice.sync().at("rooms", "invite", room) != nil {
			t.Error("an invite of earlier is shown though all are blocked")
		}
	})
}
