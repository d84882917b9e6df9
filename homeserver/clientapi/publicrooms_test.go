package clientapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// names is the rooms of a page of the directory.
func (r reply) listedNames() []string {
	var names []string
	for _, room := range r.list("chunk") {
		names = append(names, fmt.Sprint(room["name"]))
	}
	return names
}

// The directory shows what there is to know of a room.
func TestPublicRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, nobody := s.person("alice"), s.person("bob"), &device{wholeServer: s}
		room := alice.create(object{
			"visibility": "public", "name": "un nom français", "topic": "ÉTÉ Wombles", "room_alias_name": "thepub", "creation_content": object{"type": "m.space"},
			"initial_state": []object{
				{"type": "m.room.avatar", "content": object{"url": "mxc://hs.example/duck"}},
				{"type": "m.room.history_visibility", "content": object{"history_visibility": "world_readable"}},
			},
		})
		bob.join(room)
		bare := alice.create(object{"visibility": "public", "preset": "private_chat"})
		page := nobody.must("GET", v3+"/publicRooms", nil)
		if !same(page.at("chunk"), []object{
			{
				"room_id": room, "name": "un nom français", "topic": "ÉTÉ Wombles", "canonical_alias": "#thepub:hs.example", "avatar_url": "mxc://hs.example/duck",
				"num_joined_members": 2, "world_readable": true, "guest_can_join": false, "join_rule": "public", "room_type": "m.space",
			},
			{"room_id": bare, "num_joined_members": 1, "world_readable": false, "guest_can_join": true, "join_rule": "invite"},
		}) || page.at("total_room_count_estimate") != 2.0 {
			t.Errorf("%s", page.body)
		}
		for term, found := range map[string]int{
			"wombles": 1, "FRANÇAIS": 1, "été": 1, "THEPUB": 1, "pub": 1, "%": 0, "_": 0, "nothing": 0, "": 2,
		} {
			r := alice.must("POST", v3+"/publicRooms", object{"filter": object{"generic_search_term": term}})
			if len(r.list("chunk")) != found {
				t.Errorf("%q: %s", term, r.body)
			}
		}
		for _, tt := range []struct {
			types []any
			found int
		}{{[]any{nil}, 1}, {[]any{"m.space"}, 1}, {[]any{nil, "m.space"}, 2}, {[]any{"x"}, 0}, {[]any{}, 0}} {
			r := alice.must("POST", v3+"/publicRooms", object{"filter": object{"room_types": tt.types}})
			if len(r.list("chunk")) != tt.found {
				t.Errorf("%v: %s", tt.types, r.body)
			}
		}
		alice.setState(room, "m.room.name", "", object{"name": "renamed"})
		if r := alice.must("POST", v3+"/publicRooms", object{"filter": object{"generic_search_term": "français"}}); len(r.list("chunk")) != 0 {
			t.Errorf("%s", r.body)
		}
		alice.must("POST", v3+"/publicRooms?server=hs.example", object{})
		alice.refused("GET", v3+"/publicRooms?server=elsewhere.example", nil, 404, "M_NOT_FOUND")
		nobody.refused("POST", v3+"/publicRooms", object{}, 401, "M_MISSING_TOKEN")
		alice.refused("GET", v3+"/publicRooms?limit=x", nil, 400, "M_INVALID_PARAM")
		alice.refused("GET", v3+"/publicRooms?since=Zi4xLg", nil, 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/publicRooms", object{"include_all_networks": true, "third_party_instance_id": "x"}, 400, "M_INVALID_PARAM")
	})
}

// The directory can be read to its end, page by page, and back again.
func TestPagesOfPublicRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		var all []string
		for i := range 7 {
			name := fmt.Sprint("room ", i)
			room := alice.create(object{"visibility": "public", "name": name})
			if i == 3 {
				bob.join(room)
				all = append([]string{name}, all...) // the largest is first
			} else {
				all = append(all, name)
			}
		}
		ask := func(since string) reply { return alice.must("GET", v3+"/publicRooms?limit=3&since="+since, nil) }
		first := ask("")
		second := ask(first.field("next_batch"))
		third := ask(second.field("next_batch"))
		if got := slices.Concat(first.listedNames(), second.listedNames(), third.listedNames()); !slices.Equal(got, all) {
			t.Errorf("forward: %v", got)
		}
		if first.at("prev_batch") != nil || second.at("prev_batch") == nil || third.at("next_batch") != nil {
			t.Errorf("ends: %s %s", first.body, third.body)
		}
		back := ask(third.field("prev_batch"))
		if !slices.Equal(back.listedNames(), second.listedNames()) || back.at("next_batch") == nil {
			t.Errorf("back: %s", back.body)
		}
		start := ask(back.field("prev_batch"))
		if !slices.Equal(start.listedNames(), first.listedNames()) || start.at("prev_batch") != nil {
			t.Errorf("at the start: %s", start.body)
		}
		if again := ask(start.field("next_batch")); !slices.Equal(again.listedNames(), second.listedNames()) {
			t.Errorf("forward again: %s", again.body)
		}
		// A search is read in the same way.
		filter := object{"limit": 2, "filter": object{"generic_search_term": "room"}}
		filter["since"] = alice.must("POST", v3+"/publicRooms", filter).field("next_batch")
		if r := alice.must("POST", v3+"/publicRooms", filter); !slices.Equal(r.listedNames(), all[2:4]) {
			t.Errorf("a search: %s", r.body)
		}
	})
}

// Listing is for those who may name the room's alias.
func TestListingARoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, nobody := s.person("alice"), s.person("bob"), &device{wholeServer: s}
		room := alice.room(bob)
		path := v3 + "/directory/list/room/" + room
		want := func(visibility string) {
			t.Helper()
			if r := nobody.must("GET", path, nil); r.field("visibility") != visibility {
				t.Errorf("%s, want %s", r.body, visibility)
			}
		}
		want("private")
		bob.refused("PUT", path, object{"visibility": "public"}, 403, "M_FORBIDDEN")
		s.person("carol").refused("PUT", path, object{"visibility": "public"}, 403, "M_FORBIDDEN")
		alice.must("PUT", path, object{}) // public unless it says otherwise
		want("public")
		alice.must("PUT", path, object{"visibility": "public"})
		alice.must("PUT", path, object{"visibility": "private"})
		want("private")
		alice.refused("PUT", path, object{"visibility": "hidden"}, 400, "M_INVALID_PARAM")
		nobody.refused("GET", v3+"/directory/list/room/!nowhere:hs.example", nil, 404, "M_NOT_FOUND")
		alice.refused("PUT", v3+"/directory/list/room/!nowhere:hs.example", object{}, 404, "M_NOT_FOUND")
	})
}

const directoryBridge = `
id: irc
url: null
as_token: as-token
hs_token: hs-token
sender_localpart: ircbot
namespaces: {}
protocols: [irc]
`

// Networks of application services have directories of their own.
func TestDirectoriesOfNetworks(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, func(c *config.Config) {
			if err := os.MkdirAll(c.AppServices[0], 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.AppServices[0], "irc.yaml"), []byte(directoryBridge), 0o600); err != nil {
				t.Fatal(err)
			}
		})
		alice, bridge := s.person("alice"), &device{wholeServer: s, token: "as-token"}
		own := alice.create(object{"name": "own", "visibility": "public"})
		bridged := alice.create(object{"name": "bridged", "preset": "public_chat"})
		path := v3 + "/directory/list/appservice/libera/" + bridged
		alice.refused("PUT", path, object{"visibility": "public"}, 403, "M_FORBIDDEN")
		bridge.must("PUT", path, object{"visibility": "public"})
		rooms := func(request object) []string { return alice.must("POST", v3+"/publicRooms", request).listedNames() }
		for _, tt := range []struct {
			request object
			want    []string
		}{
			{object{}, []string{"own"}},
			{object{"third_party_instance_id": "irc|libera"}, []string{"bridged"}},
			{object{"third_party_instance_id": "irc|oftc"}, nil},
			{object{"include_all_networks": true}, []string{"own", "bridged"}},
			{object{"include_all_networks": false}, []string{"own"}},
		} {
			if got := rooms(tt.request); !slices.Equal(got, tt.want) {
				t.Errorf("%v: %v", tt.request, got)
			}
		}
		bridge.must("PUT", v3+"/directory/list/appservice/libera/"+own, object{"visibility": "public"})
		bridge.refused("PUT", v3+"/directory/list/appservice/"+strings.Repeat("n", 256)+"/"+own, object{"visibility": "public"}, 400, "M_INVALID_PARAM")
		if r := alice.must("POST", v3+"/publicRooms", object{"include_all_networks": true}); len(r.listedNames()) != 2 || r.at("total_room_count_estimate") != 2.0 {
			t.Errorf("a room that is in two: %s", r.body)
		}
		(&device{wholeServer: s.plain(), token: bridge.token}).must("DELETE", path, nil) // as clients of old take it out
		if got := rooms(object{"third_party_instance_id": "irc|libera"}); !slices.Equal(got, []string{"own"}) {
			t.Errorf("%v", got)
		}
		if r := alice.must("GET", v3+"/directory/list/room/"+bridged, nil); r.field("visibility") != "private" {
			t.Errorf("%s", r.body)
		}
	})
}
