package clientapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// search searches room_events; more are further members of the criteria.
func (d *device) search(term, from string, more ...any) reply {
	d.t.Helper()
	criteria := object{"search_term": term}
	for i := 0; i < len(more); i += 2 {
		criteria[more[i].(string)] = more[i+1]
	}
	path := v3 + "/search"
	if from != "" {
		path += "?next_batch=" + url.QueryEscape(from)
	}
	return d.must("POST", path, object{"search_categories": object{"room_events": criteria}})
}

var inFound = []string{"search_categories", "room_events"}

// found is a value in the results of a search.
func (r reply) found(path ...string) any { return r.at(slices.Concat(inFound, path)...) }

// foundIDs is the event IDs of the results, in their order.
func (r reply) foundIDs() []string {
	list, _ := r.found("results").([]any)
	ids := []string{}
	for _, one := range list {
		e, _ := one.(map[string]any)["result"].(map[string]any)
		ids = append(ids, fmt.Sprint(e["event_id"]))
	}
	return ids
}

func (d *device) wantFound(what, term string, want []string, more ...any) reply {
	d.t.Helper()
	res := d.search(term, "", append([]any{"order_by", "recent"}, more...)...)
	if got := res.foundIDs(); !slices.Equal(got, want) {
		d.t.Errorf("%s: %v, want %v", what, got, want)
	}
	return res
}

func TestSearch(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		hello := alice.say(room, "Hello, World")
		crowd := bob.say(room, "a wörld of its own: DROP TABLE events; -- 'world' \"OR\" & | ! *")
		res := alice.wantFound("a word", "world", []string{crowd, hello})
		if res.found("count") != 2.0 || !slices.Equal(res.texts("search_categories", "room_events", "highlights"), []string{"world"}) {
			t.Errorf("count and highlights: %s", res.body)
		}
		alice.wantFound("all words", "WORLD hello", []string{hello})
		alice.wantFound("accents", "Wörld own", []string{crowd})
		alice.wantFound("nothing", "universe", []string{})
		alice.wantFound("no word at all", "!? *", []string{})
		alice.wantFound("syntax is only text", `"hello" & world | table*`, []string{})
		alice.wantFound("syntax is text", `'world' OR "events"; --`, []string{crowd})
		name := alice.must("PUT", v3+"/rooms/"+room+"/state/m.room.name/", object{"name": "The world's end"}).field("event_id")
		topic := alice.must("PUT", v3+"/rooms/"+room+"/state/m.room.topic/", object{
			"topic": "short", "m.topic": object{"m.text": []object{{"body": "<b>world</b>", "mimetype": "text/html"}, {"body": "a longer world"}}},
		}).field("event_id")
		alice.wantFound("all keys", "world", []string{topic, name, crowd, hello})
		alice.wantFound("names", "world", []string{name}, "keys", []string{"content.name"})
		alice.wantFound("names and topics", "world", []string{topic, name}, "keys", []string{"content.topic", "content.name"})
		alice.wantFound("a sender", "world", []string{crowd}, "filter", object{"senders": []string{bob.user}})
		alice.wantFound("no sender", "world", []string{}, "filter", object{"senders": []string{"@nobody:hs.example"}})
		alice.wantFound("not a sender", "world", []string{topic, name, hello}, "filter", object{"not_senders": []string{bob.user}})
		alice.wantFound("a type", "world", []string{name}, "filter", object{"types": []string{"m.room.n*"}})
		alice.wantFound("another room", "world", []string{}, "filter", object{"rooms": []string{"!other:hs.example"}})
		alice.wantFound("not the room", "world", []string{}, "filter", object{"not_rooms": []string{room}})
		alice.wantFound("with a URL", "world", []string{}, "filter", object{"contains_url": true})
		alice.wantFound("a limit", "world", []string{topic}, "filter", object{"limit": 1})
		alice.must("PUT", v3+"/user/"+alice.user+"/account_data/m.ignored_user_list", object{"ignored_users": object{bob.user: object{}}})
		alice.wantFound("without the ignored", "world", []string{topic, name, hello})

		chinese := bob.say(room, "我们在搜索全文索引")
		japanese := bob.say(room, "全文ガイド")
		bob.wantFound("a word without gaps", "全文", []string{japanese, chinese})
		bob.wantFound("more of it", "搜索全文", []string{chinese})
		bob.wantFound("a single letter", "索", []string{chinese})
		bob.wantFound("another order", "文全", []string{})
		bob.wantFound("half width", "ｶﾞｲﾄﾞ", []string{japanese})
		if res := alice.must("POST", v3+"/search", `{"search_categories":{}}`); res.found() != nil {
			t.Errorf("no category: %s", res.body)
		}
		for body, code := range map[string]string{
			`{}`: "M_MISSING_PARAM",
			`{"search_categories":{"room_events":{}}}`:                                                         "M_MISSING_PARAM",
			`{"search_categories":{"room_events":{"search_term":"a","keys":["content.x"]}}}`:                   "M_INVALID_PARAM",
			`{"search_categories":{"room_events":{"search_term":"a","order_by":"x"}}}`:                         "M_INVALID_PARAM",
			`{"search_categories":{"room_events":{"search_term":"a","groupings":{"group_by":[{"key":"x"}]}}}}`: "M_INVALID_PARAM",
			`{"search_categories":{"room_events":{"search_term":"a","event_context":{"before_limit":-1}}}}`:    "M_INVALID_PARAM",
			`{"search_categories":{"room_events":{"search_term":"a","filter":{"rooms":1}}}}`:                   "M_BAD_JSON",
			`{"search_categories":{"room_events":{"search_term":1}}}`:                                          "M_BAD_JSON",
		} {
			(&device{wholeServer: s.plain(), token: alice.token, user: alice.user}).refused("POST", v3+"/search", body, 400, code)
		}
		alice.refused("POST", v3+"/search?next_batch=x", object{"search_categories": object{"room_events": object{"search_term": "a"}}}, 400, "M_INVALID_PARAM")
	})
}

// What somebody may not see is not found, and neither is what is gone.
func TestSearchShowsWhatMayBeSeen(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		closed := alice.must("POST", v3+"/createRoom", object{"preset": "private_chat"}).field("room_id")
		secret := alice.say(closed, "needle in a closed room")
		joined := alice.must("POST", v3+"/createRoom", object{"preset": "public_chat", "initial_state": []object{
			{"type": "m.room.history_visibility", "content": object{"history_visibility": "joined"}},
		}}).field("room_id")
		early := alice.say(joined, "needle before")
		bob.join(joined)
		while := alice.say(joined, "needle while")
		bob.must("POST", v3+"/rooms/"+joined+"/leave", object{})
		late := alice.say(joined, "needle after")
		shared := alice.room(bob)
		old := alice.say(shared, "needle shared")
		bob.must("POST", v3+"/rooms/"+shared+"/leave", object{})
		new := alice.say(shared, "needle unshared")
		if res := bob.wantFound("bob", "needle", []string{old, while}); res.found("count") != 2.0 {
			t.Errorf("the count tells of others: %s", res.body)
		}
		alice.wantFound("alice", "needle", []string{new, old, late, while, early, secret})
		bob.must("POST", v3+"/rooms/"+shared+"/forget", object{})
		bob.wantFound("a forgotten room", "needle", []string{while})

		alice.must("PUT", v3+"/rooms/"+closed+"/redact/"+secret+"/1", object{})
		alice.must("PUT", v3+"/rooms/"+joined+"/send/m.room.redaction/2", object{"redacts": late})
		for _, order := range []string{"rank", "recent"} {
			res := alice.search("needle", "", "order_by", order)
			if got := res.foundIDs(); len(got) != 4 || slices.Contains(got, secret) || slices.Contains(got, late) {
				t.Errorf("%s with redactions: %s", order, res.body)
			}
		}
		alice.must("PUT", v3+"/rooms/"+closed+"/state/m.room.encryption/", object{"algorithm": "m.megolm.v1.aes-sha2"})
		alice.say(closed, "needle in the clear")
		alice.wantFound("encrypted", "needle", []string{new, old, while, early})

		carol := s.person("carol")
		carol.join(shared)
		said := carol.say(shared, "carol's needle")
		alice.wantFound("carol", "needle carol", []string{said})
		carol.must("POST", v3+"/account/deactivate", object{"erase": true, "auth": object{
			"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": carol.user}, "password": password,
		}})
		alice.wantFound("a user who is forgotten", "needle carol", []string{})
	})
}

func TestSearchPages(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		one, two := alice.room(bob), alice.room(bob)
		var sent []string // the newest first
		for i := range 20 {
			who, room := []*device{alice, bob}[i%2], []string{one, two}[i/2%2]
			sent = append(sent, who.say(room, fmt.Sprint("Message number ", i)))
		}
		slices.Reverse(sent)
		ten := []any{"order_by", "recent", "filter", object{"limit": 10}}
		first := alice.search("message", "", ten...)
		next, _ := first.found("next_batch").(string)
		late := alice.say(one, "another message")
		second := alice.search("message", next, ten...)
		last, _ := second.found("next_batch").(string)
		third := alice.search("message", last, ten...)
		if !slices.Equal(slices.Concat(first.foundIDs(), second.foundIDs(), third.foundIDs()), sent) || third.found("next_batch") != nil {
			t.Errorf("pages:\n%s\n%s\n%s", first.body, second.body, third.body)
		}
		for _, page := range []reply{first, second, third} {
			if page.found("count") != 20.0 {
				t.Errorf("count: %s", page.body)
			}
		}

		grouped := append(ten[:2:2], "filter", object{"limit": 4}, "groupings", object{"group_by": []object{{"key": "room_id"}, {"key": "sender"}}})
		page := alice.search("number", "", grouped...)
		of := func(key, value string) []string {
			return page.texts(slices.Concat(inFound, []string{"groups", key, value, "results"})...)
		}
		sorted := func(ids ...string) []string { return slices.Sorted(slices.Values(ids)) }
		if !slices.Equal(of("room_id", two), sorted(sent[0], sent[1])) || !slices.Equal(of("room_id", one), sorted(sent[2], sent[3])) ||
			!slices.Equal(of("sender", bob.user), sorted(sent[0], sent[2])) || page.found("groups", "room_id", two, "order") != 1.0 {
			t.Errorf("groups: %s", page.body)
		}
		token, _ := page.found("groups", "room_id", two, "next_batch").(string)
		if more := alice.search("number", token, grouped...); !slices.Equal(more.foundIDs(), []string{sent[4], sent[5], sent[8], sent[9]}) {
			t.Errorf("more of a room: %s", more.body)
		} else if token, _ := more.found("next_batch").(string); !slices.Equal(alice.search("number", token, grouped...).foundIDs(), []string{sent[12], sent[13], sent[16], sent[17]}) {
			t.Error("a room's list does not go on")
		}
		token, _ = page.found("groups", "sender", bob.user, "next_batch").(string)
		if more := alice.search("number", token, grouped...); !slices.Equal(more.foundIDs(), []string{sent[4], sent[6], sent[8], sent[10]}) {
			t.Errorf("more of a sender: %s", more.body)
		}

		best := alice.say(two, "message message")
		var ranked []string
		token = ""
		for range 8 {
			page := alice.search("message", token, "filter", object{"limit": 5})
			ranked = append(ranked, page.foundIDs()...)
			if token, _ = page.found("next_batch").(string); token == "" {
				break
			}
		}
		if len(ranked) != 22 || ranked[0] != best || ranked[1] != late || len(slices.Compact(slices.Sorted(slices.Values(ranked)))) != 22 {
			t.Errorf("by rank: %v, best %s, then %s", ranked, best, late)
		}
		(&device{wholeServer: s.plain(), token: alice.token}).refused("POST", v3+"/search?next_batch="+url.QueryEscape(next),
			object{"search_categories": object{"room_events": object{"search_term": "message"}}}, 400, "M_INVALID_PARAM")
	})
}

func TestSearchContext(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		alice.must("PUT", v3+"/profile/"+alice.user+"/displayname", object{"displayname": "Alice"})
		room := alice.room(bob)
		var sent []string
		for i := range 7 {
			sent = append(sent, []*device{alice, bob}[i%2].say(room, fmt.Sprint("Message number ", i+1)))
		}
		alice.must("PUT", v3+"/profile/"+alice.user+"/displayname", object{"displayname": "Later"})
		res := alice.wantFound("one", "Message 4", []string{sent[3]}, "filter", object{"limit": 1}, "include_state", true,
			"event_context", object{"before_limit": 2, "after_limit": 2, "include_profile": true})
		if res.found("count") != 1.0 || res.found("next_batch") == nil {
			t.Error(res.body)
		}
		list, _ := res.found("results").([]any)
		around := reply{body: mustJSON(t, list[0])}
		ids := func(side string) (ids []string) {
			events, _ := around.at("context", side).([]any)
			for _, e := range events {
				ids = append(ids, fmt.Sprint(e.(map[string]any)["event_id"]))
			}
			return ids
		}
		if !slices.Equal(ids("events_before"), []string{sent[2], sent[1]}) || !slices.Equal(ids("events_after"), []string{sent[4], sent[5]}) ||
			around.at("context", "profile_info", alice.user, "displayname") != "Alice" || around.at("context", "profile_info", bob.user) == nil {
			t.Errorf("context: %s", around.body)
		}
		start, _ := around.at("context", "start").(string)
		end, _ := around.at("context", "end").(string)
		alice.wantChunk("before the context", v3+"/rooms/"+room+"/messages?dir=b&limit=1&from="+start, sent[0])
		alice.wantChunk("behind the context", v3+"/rooms/"+room+"/messages?dir=f&limit=1&from="+end, sent[6])
		if state, _ := res.found("state", room).([]any); len(state) < 6 {
			t.Errorf("state: %s", res.body)
		}
	})
}

// A room that took the place of another one is searched with it.
func TestSearchAcrossAnUpgrade(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		old := alice.must("POST", v3+"/createRoom", object{"preset": "private_chat", "room_version": "10"}).field("room_id")
		before := alice.say(old, "Message before upgrade")
		room := alice.must("POST", v3+"/rooms/"+old+"/upgrade", object{"new_version": "11"}).field("replacement_room")
		after := alice.say(room, "Message after upgrade")
		alice.wantFound("both", "message upgrade", []string{after, before}, "filter", object{"rooms": []string{old, room}})
		alice.wantFound("by the new one", "message upgrade", []string{after, before}, "filter", object{"rooms": []string{room}})
		alice.wantFound("the old one", "message upgrade", []string{before}, "filter", object{"rooms": []string{old}})
	})
}
