package clientapi_test

import (
	"net/url"
	"slices"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// memberships are the members that GET /members shows, with what they are.
func (r reply) memberships() map[string]string {
	list, _ := r.at("chunk").([]any)
	all := map[string]string{}
	for _, e := range list {
		event := e.(map[string]any)
		all[event["state_key"].(string)] = event["content"].(map[string]any)["membership"].(string)
	}
	return all
}

func TestTheLifeOfAMembership(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		server := newWholeServer(t, database)
		alice, bob, carol := server.person("alice"), server.person("bob"), server.person("carol")
		room := alice.make("by request", "initial_state", []any{map[string]any{"type": "m.room.join_rules", "content": map[string]string{"join_rule": "knock"}}})
		path := v3 + "/rooms/" + room

		bob.refused("POST", v3+"/join/"+room, "{}", 403, "M_FORBIDDEN")
		if got := bob.must("POST", v3+"/knock/"+room, `{"reason":"let me in"}`).field("room_id"); got != room {
			t.Errorf("knocked at %s", got)
		}
		if knocks := bob.sync().at("rooms", "knock", room, "knock_state", "events"); knocks == nil {
			t.Error("whoever knocks sees nothing of it")
		}
		bob.refused("GET", path+"/members", nil, 403, "M_FORBIDDEN")
		alice.must("POST", path+"/invite", `{"user_id":"`+bob.user+`"}`)
		bob.must("POST", v3+"/join/"+room, "{}")
		carol.must("POST", v3+"/knock/"+room, "{}")

		all := alice.must("GET", path+"/members", nil).memberships()
		if want := map[string]string{alice.user: "join", bob.user: "join", carol.user: "knock"}; !same(all, want) {
			t.Errorf("members %v, want %v", all, want)
		}
		for query, want := range map[string]map[string]string{
			"?membership=knock":    {carol.user: "knock"},
			"?not_membership=join": {carol.user: "knock"},
			"?membership=ban":      {},
			"?at=" + url.QueryEscape(alice.must("GET", path+"/messages?dir=f&limit=1", nil).field("start")): {alice.user: "join"}, // as it was when its creator had come in
		} {
			if got := alice.must("GET", path+"/members"+query, nil).memberships(); !same(got, want) {
				t.Errorf("%s: %v, want %v", query, got, want)
			}
		}
		joined := alice.must("GET", path+"/joined_members", nil).at("joined").(map[string]any)
		if len(joined) != 2 || joined[bob.user] == nil {
			t.Errorf("joined: %v", joined)
		}
		if got := bob.must("GET", v3+"/joined_rooms", nil).texts("joined_rooms"); !slices.Equal(got, []string{room}) {
			t.Errorf("bob's rooms: %v", got)
		}

		bob.refused("POST", path+"/forget", "{}", 400, "M_UNKNOWN")
		alice.must("POST", path+"/ban", `{"user_id":"`+bob.user+`","reason":"enough"}`)
		bob.refused("POST", v3+"/knock/"+room, "{}", 403, "M_FORBIDDEN")
		bob.refused("POST", path+"/unban", `{"user_id":"`+bob.user+`"}`, 403, "M_FORBIDDEN")
		alice.must("POST", path+"/unban", `{"user_id":"`+bob.user+`"}`)
		alice.refused("POST", path+"/unban", `{"user_id":"`+bob.user+`"}`, 403, "M_BAD_STATE")
		bob.must("POST", path+"/forget", "{}")
		bob.refused("GET", path+"/messages?dir=b", nil, 403, "M_FORBIDDEN")
		if got := bob.must("GET", v3+"/joined_rooms", nil).texts("joined_rooms"); len(got) > 0 {
			t.Errorf("bob's rooms in the end: %v", got)
		}
	})
}

func TestTheDirectory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		server := newWholeServer(t, database)
		alice, bob := server.person("alice"), server.person("bob")
		big := alice.make("The big one", "visibility", "public", "room_alias_name", "big", "topic", "About cheese")
		small := alice.make("The small one", "visibility", "public")
		alice.make("Not listed")
		bob.must("POST", v3+"/join/"+big, "{}")

		page := bob.must("GET", v3+"/publicRooms?limit=1", nil)
		if rooms, _ := page.at("chunk").([]any); len(rooms) != 1 || rooms[0].(map[string]any)["room_id"] != big || page.at("total_room_count_estimate") != 2.0 {
			t.Errorf("the first page: %s", page.body)
		}
		next := bob.must("GET", v3+"/publicRooms?limit=1&since="+url.QueryEscape(page.field("next_batch")), nil)
		if rooms, _ := next.at("chunk").([]any); len(rooms) != 1 || rooms[0].(map[string]any)["room_id"] != small || next.at("next_batch") != nil {
			t.Errorf("the second page: %s", next.body)
		}
		found := bob.must("POST", v3+"/publicRooms", `{"filter":{"generic_search_term":"CHEESE"}}`)
		if rooms, _ := found.at("chunk").([]any); len(rooms) != 1 || rooms[0].(map[string]any)["canonical_alias"] != "#big:hs.example" {
			t.Errorf("found: %s", found.body)
		}

		const alias = v3 + "/directory/room/%23other:hs.example"
		alice.must("PUT", alias, `{"room_id":"`+big+`"}`)
		if got := alice.must("GET", v3+"/rooms/"+big+"/aliases", nil).texts("aliases"); !slices.Equal(got, []string{"#big:hs.example", "#other:hs.example"}) {
			t.Errorf("aliases: %v", got)
		}
		bob.refused("DELETE", alias, nil, 403, "M_FORBIDDEN")
		alice.must("DELETE", alias, nil)
		alice.refused("DELETE", alias, nil, 404, "M_NOT_FOUND")
		alice.refused("GET", alias, nil, 404, "M_NOT_FOUND")
	})
}

// Invites are counted by whichever way they go.
func TestInvitesAreCounted(t *testing.T) {
	server := newWholeServer(t, testkit.SQLite(t), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["invite"] = config.RateLimit{PerSecond: 0.001, Burst: 1}
	})
	alice, bob, carol := server.person("alice"), server.person("bob"), server.person("carol")
	room := alice.room()
	member := func(who *device) string { return v3 + "/rooms/" + room + "/state/m.room.member/" + who.user }
	alice.must("PUT", member(bob), map[string]string{"membership": "invite"})
	alice.refused("PUT", member(carol), map[string]string{"membership": "invite"}, 429, "M_LIMIT_EXCEEDED")
	alice.refused("POST", v3+"/rooms/"+room+"/invite", map[string]string{"user_id": carol.user}, 429, "M_LIMIT_EXCEEDED")
	alice.must("PUT", member(alice), map[string]string{"membership": "join", "displayname": "A"})
	bob.join(room)
}
