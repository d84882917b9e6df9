package clientapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

const v1 = "/_matrix/client/v1"

func (d *device) make(name string, more ...any) string {
	d.t.Helper()
	body := map[string]any{"name": name, "preset": "public_chat"}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return d.must("POST", v3+"/createRoom", body).field("room_id")
}

func (d *device) space(name string, more ...any) string {
	d.t.Helper()
	return d.make(name, append(more, "creation_content", map[string]string{"type": "m.space"})...)
}

func (d *device) child(space, room string, more ...any) {
	d.t.Helper()
	content := map[string]any{"via": []string{"hs.example"}}
	for i := 0; i < len(more); i += 2 {
		content[more[i].(string)] = more[i+1]
	}
	d.setState(space, "m.space.child", room, content)
}

// names are the rooms of a page.
func (r reply) names() []string {
	list, _ := r.at("rooms").([]any)
	var names []string
	for _, room := range list {
		names = append(names, fmt.Sprint(room.(map[string]any)["name"]))
	}
	return names
}

func TestTheHierarchyOfASpace(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		server := newWholeServer(t, database)
		alice, bob := server.person("alice"), server.person("bob")
		root, deep := alice.space("root"), alice.space("deep")
		first, second, third := alice.make("first"), alice.make("second"), alice.make("third")
		secret := alice.make("secret", "preset", "private_chat")
		restricted := alice.make("restricted", "initial_state", []any{map[string]any{
			"type": "m.room.join_rules", "content": map[string]any{"join_rule": "restricted", "allow": []any{
				map[string]string{"type": "m.room_membership", "room_id": third},
			}},
		}})
		knock := alice.make("knock", "initial_state", []any{map[string]any{"type": "m.room.join_rules", "content": map[string]string{"join_rule": "knock"}}})
		alice.child(root, second)
		alice.child(root, first, "order", "a", "suggested", true)
		alice.child(root, deep, "order", "b", "suggested", true)
		alice.child(root, secret, "order", "c")
		alice.child(root, restricted, "order", "d")
		alice.child(root, "!unknown:elsewhere.example", "order", "e")
		alice.child(deep, third, "suggested", true)
		alice.child(deep, root) // in a circle
		alice.child(deep, knock, "order", "invalid\u00e9")
		alice.setState(deep, "m.space.child", first, map[string]string{"via": "no list"})
		path := v1 + "/rooms/" + root + "/hierarchy"

		for _, c := range []struct {
			who   *device
			query string
			want  []string
		}{
			{alice, "", []string{"root", "first", "deep", "third", "knock", "secret", "restricted", "second"}},
			{bob, "", []string{"root", "first", "deep", "third", "knock", "second"}},
			{bob, "?suggested_only=true", []string{"root", "first", "deep", "third"}},
			{bob, "?max_depth=0", []string{"root"}},
			{bob, "?max_depth=1", []string{"root", "first", "deep", "second"}},
		} {
			page := c.who.must("GET", path+c.query, nil)
			if got := page.names(); !slices.Equal(got, c.want) || page.at("next_batch") != nil {
				t.Errorf("%s %s: %v, next %v, want %v", c.who.user, c.query, got, page.at("next_batch"), c.want)
			}
			joined := bob.must("GET", path+c.query, nil)
			if c.who == bob && !slices.Equal(joined.names(), c.want) {
				t.Errorf("the same once more: %v", joined.names())
			}
		}

		// Page by page it is the same.
		var all []string
		from, pages := "", 0
		for {
			page := bob.must("GET", path+"?limit=2"+from, nil)
			all = append(all, page.names()...)
			next, more := page.at("next_batch").(string)
			if !more {
				break
			}
			from = "&from=" + url.QueryEscape(next)
			bob.refused("GET", path+"?limit=2&suggested_only=true"+from, nil, 400, "M_INVALID_PARAM")
			if pages++; pages > 10 {
				t.Fatal("the pages have no end")
			}
		}
		if want := []string{"root", "first", "deep", "third", "knock", "second"}; !slices.Equal(all, want) {
			t.Errorf("by pages: %v", all)
		}

		children := bob.must("GET", path+"?max_depth=0", nil).at("rooms").([]any)[0].(map[string]any)["children_state"].([]any)
		if len(children) != 6 || children[0].(map[string]any)["state_key"] != first {
			t.Errorf("children_state is %v", children)
		}

		// Being let in shows more.
		bob.join(third)
		if got := bob.must("GET", path, nil).names(); !slices.Contains(got, "restricted") {
			t.Errorf("bob may join the restricted room and sees %v", got)
		}
		for _, c := range []struct{ query, code string }{
			{"?limit=0", "M_INVALID_PARAM"}, {"?limit=x", "M_INVALID_PARAM"}, {"?max_depth=-1", "M_INVALID_PARAM"}, {"?from=nonsense", "M_INVALID_PARAM"},
		} {
			bob.refused("GET", path+c.query, nil, 400, c.code)
		}
		bob.refused("GET", v1+"/rooms/"+secret+"/hierarchy", nil, 403, "M_FORBIDDEN")
		bob.refused("GET", v1+"/rooms/!no:hs.example/hierarchy", nil, 403, "M_FORBIDDEN")
		alice.must("POST", v3+"/rooms/"+root+"/ban", map[string]string{"user_id": bob.user})
		bob.refused("GET", path, nil, 403, "M_FORBIDDEN")
	})
}

// A page of a space may cost a look at thousands of rooms, and is counted by itself.
func TestHierarchiesAreCounted(t *testing.T) {
	server := newWholeServer(t, testkit.SQLite(t), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["spaces"] = config.RateLimit{PerSecond: 0.001, Burst: 1}
	})
	alice, bob := server.person("alice"), server.person("bob")
	path := v1 + "/rooms/" + alice.space("root") + "/hierarchy"
	alice.must("GET", path, nil)
	alice.refused("GET", path, nil, 429, "M_LIMIT_EXCEEDED")
	bob.must("GET", path, nil)
}

func TestTheSummaryOfARoom(t *testing.T) {
	server := newWholeServer(t, testkit.SQLite(t))
	alice, bob := server.person("alice"), server.person("bob")
	stranger := &device{wholeServer: server}
	room := alice.make("open", "topic", "of things", "room_alias_name", "open")
	for _, who := range []*device{stranger, bob, alice} {
		for _, path := range []string{v1 + "/room_summary/" + room, v1 + "/room_summary/%23open:hs.example?via=hs.example"} {
			summary := who.must("GET", path, nil)
			var membership any
			if who == alice {
				membership = "join"
			}
			if summary.at("name") != "open" || summary.at("topic") != "of things" || summary.at("num_joined_members") != 1.0 ||
				summary.at("membership") != membership || summary.at("room_version") != "12" || summary.at("join_rule") != "public" {
				t.Errorf("%s sees %s", who.user, summary.body)
			}
		}
	}
	secret := alice.make("secret", "preset", "private_chat")
	stranger.refused("GET", v1+"/room_summary/"+secret, nil, 404, "M_NOT_FOUND")
	bob.refused("GET", v1+"/room_summary/"+secret, nil, 404, "M_NOT_FOUND")
	alice.must("POST", v3+"/rooms/"+secret+"/invite", map[string]string{"user_id": bob.user})
	if summary := bob.must("GET", v1+"/room_summary/"+secret, nil); summary.at("membership") != "invite" {
		t.Errorf("whom it invites sees %s", summary.body)
	}
	bob.refused("GET", v1+"/room_summary/!no:hs.example", nil, 404, "M_NOT_FOUND")
	bob.refused("GET", v1+"/room_summary/%23no:hs.example", nil, 404, "M_NOT_FOUND")
	bob.refused("GET", v1+"/room_summary/nonsense", nil, 400, "M_INVALID_PARAM")
}

func TestMutualRooms(t *testing.T) {
	server := newWholeServer(t, testkit.SQLite(t))
	alice, bob, carol := server.person("alice"), server.person("bob"), server.person("carol")
	var shared []string
	for range 103 {
		shared = append(shared, alice.room(bob))
	}
	alice.room()
	bob.room(carol)
	slices.Sort(shared)
	path := v1 + "/mutual_rooms?user_id="
	page := alice.must("GET", path+bob.user, nil)
	if page.at("count") != 103.0 || len(page.texts("joined")) != 100 {
		t.Errorf("of 103 rooms: count %v, %d told", page.at("count"), len(page.texts("joined")))
	}
	rest := alice.must("GET", path+bob.user+"&from="+url.QueryEscape(page.field("next_batch")), nil)
	if got := append(page.texts("joined"), rest.texts("joined")...); !slices.Equal(got, shared) || rest.at("next_batch") != nil {
		t.Errorf("both pages have %d rooms, next %v", len(got), rest.at("next_batch"))
	}
	// Clients look for the flag, and then speak as the proposal once was.
	if flags := alice.must("GET", "/_matrix/client/versions", nil); flags.at("unstable_features", "uk.half-shot.msc2666.query_mutual_rooms") != true {
		t.Errorf("the feature is not advertised: %s", flags.body)
	}
	early := "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms?user_id=" + bob.user
	token := alice.must("GET", early, nil).field("next_batch_token")
	if old := alice.must("GET", early+"&batch_token="+url.QueryEscape(token), nil); !slices.Equal(old.texts("joined"), shared[100:]) || old.at("next_batch_token") != nil {
		t.Errorf("the second page as it was: %s", old.body)
	}
	for _, other := range []string{carol.user, "@nobody:hs.example", "@far:elsewhere.example"} {
		if none := alice.must("GET", path+other, nil); none.at("count") != 0.0 {
			t.Errorf("with %s: %s", other, none.body)
		}
	}
	alice.refused("GET", path+alice.user, nil, 400, "M_INVALID_PARAM")
	alice.refused("GET", path+"nonsense", nil, 400, "M_INVALID_PARAM")
	alice.refused("GET", v1+"/mutual_rooms", nil, 400, "M_MISSING_PARAM")
	alice.refused("GET", path+bob.user+"&from=!", nil, 400, "M_INVALID_PARAM")
}
