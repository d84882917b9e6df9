package clientapi_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// A redaction is a redaction whether it comes by /redact or as an event, in
// every version; whatever shows the event, shows what is left of it.
func TestRedactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		for _, version := range []string{"1", "4", "9", "10", "11", "12"} {
			for _, way := range []string{"redact", "send"} {
				checkRedaction(t, alice, bob, version, way)
			}
		}
	})
}

// In version 3 the IDs of events have slashes.
func TestEventsWithSlashes(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t))
	alice := s.person("alice")
	room := alice.create(object{"room_version": "3"})
	event := ""
	for range 200 {
		if event = alice.say(room, "hello"); strings.Contains(event, "/") {
			break
		}
	}
	if !strings.Contains(event, "/") {
		t.Fatalf("200 events, and the last is %s", event)
	}
	path := v3 + "/rooms/" + room
	alice.must("POST", path+"/receipt/m.read/"+url.PathEscape(event), object{})
	alice.must("PUT", path+"/redact/"+url.PathEscape(event)+"/1", object{})
	if r := alice.must("GET", path+"/event/"+url.PathEscape(event), nil); !same(r.at("content"), object{}) || r.field("event_id") != event {
		t.Errorf("%s", r.body)
	}
}

func checkRedaction(t *testing.T, alice, bob *device, version, way string) {
	t.Helper()
	room := alice.must("POST", v3+"/createRoom", object{"preset": "public_chat", "room_version": version}).field("room_id")
	bob.join(room)
	rooms := v3 + "/rooms/" + room
	alice.since = ""
	alice.sync()
	root := alice.say(room, "root")
	reply := bob.relate(room, "m.thread", root, "a needle in a thread")
	latest := bob.relate(room, "m.thread", root, "the latest needle in a thread")
	redact := func(d *device, event, txn string) string {
		t.Helper()
		if way == "redact" {
			return d.must("PUT", rooms+"/redact/"+event+"/"+txn, object{"reason": "oops"}).field("event_id")
		}
		return d.must("PUT", rooms+"/send/m.room.redaction/"+txn, object{"redacts": event, "reason": "oops"}).field("event_id")
	}
	if got := alice.search("needle", "", "filter", object{"rooms": []string{room}}).foundIDs(); len(got) != 2 {
		t.Errorf("version %s by %s: before, %v are found", version, way, got)
	}
	redaction := redact(bob, latest, "1")
	if again := redact(bob, latest, "1"); again != redaction {
		t.Errorf("version %s by %s: a repeat is another event", version, way)
	}
	// By its own event, in the timeline of /sync, and in a page of history.
	got := alice.must("GET", rooms+"/event/"+latest, nil)
	if body := got.at("content", "body"); body != nil || got.at("unsigned", "redacted_because", "event_id") != redaction ||
		got.at("unsigned", "redacted_because", "content", "reason") != "oops" {
		t.Errorf("version %s by %s: %s", version, way, got.body)
	}
	shown := alice.must("GET", rooms+"/event/"+redaction, nil)
	if shown.at("redacts") != latest || shown.at("content", "redacts") != latest || shown.at("content", "reason") != "oops" {
		t.Errorf("version %s by %s: the redaction is %s", version, way, shown.body)
	}
	timeline, _ := alice.sync().at("rooms", "join", room, "timeline", "events").([]any)
	if last := lastOf(timeline); last.at("redacts") != latest {
		t.Errorf("version %s by %s: in /sync the redaction is %s", version, way, last.body)
	}
	page := alice.must("GET", rooms+"/messages?dir=b&limit=2", nil)
	if ids := chunkIDs(page); !slices.Equal(ids, []string{redaction, latest}) || slices.Contains(chunkBodies(page), "the latest needle in a thread") {
		t.Errorf("version %s by %s: history %s", version, way, page.body)
	}
	// Threads, relations and search follow.
	summary := alice.must("GET", rooms+"/event/"+root, nil)
	if summary.at("unsigned", "m.relations", "m.thread", "latest_event", "event_id") != reply || summary.at("unsigned", "m.relations", "m.thread", "count") != 1.0 {
		t.Errorf("version %s by %s: thread %s", version, way, summary.body)
	}
	alice.wantChunk("related", "/_matrix/client/v1/rooms/"+room+"/relations/"+root, reply)
	if got := alice.search("needle", "", "filter", object{"rooms": []string{room}}).foundIDs(); !slices.Equal(got, []string{reply}) {
		t.Errorf("version %s by %s: %v are found", version, way, got)
	}
	// Who may not redact may not do it this way either.
	if r := bob.do("PUT", rooms+"/send/m.room.redaction/2", object{"redacts": root}); r.status != 403 || r.field("errcode") != "M_FORBIDDEN" {
		t.Errorf("version %s: bob redacts what alice said: %s", version, r.body)
	}
	redact(alice, reply, "3")
	if threads := chunkIDs(alice.must("GET", "/_matrix/client/v1/rooms/"+room+"/threads", nil)); len(threads) != 0 {
		t.Errorf("version %s by %s: threads without events %v", version, way, threads)
	}
}

// lastOf is the last of a list of events.
func lastOf(events []any) reply {
	if len(events) == 0 {
		return reply{}
	}
	raw, _ := json.Marshal(events[len(events)-1])
	return reply{body: string(raw)}
}

// chunkBodies is what the messages of a chunk say.
func chunkBodies(r reply) (list []string) {
	events, _ := r.at("chunk").([]any)
	for _, e := range events {
		content, _ := e.(map[string]any)["content"].(map[string]any)
		if body, ok := content["body"].(string); ok {
			list = append(list, body)
		}
	}
	return list
}

// Messages of users who are ignored are shown nowhere, their state everywhere.
func TestIgnoredUsersEverywhere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := carol.room(alice, bob)
		carol.must("PUT", v3+"/rooms/"+room+"/state/m.room.power_levels/", object{"users": object{bob.user: 100}})
		alice.since = ""
		alice.sync()
		start := alice.since
		first := carol.say(room, "first")
		bob.say(room, "rude")
		topic := bob.must("PUT", v3+"/rooms/"+room+"/state/m.room.topic/", object{"topic": "Rudeness"}).field("event_id")
		middle := carol.say(room, "middle")
		bob.say(room, "rude again")
		last := carol.say(room, "last")
		alice.must("PUT", v3+"/user/"+alice.user+"/account_data/m.ignored_user_list", object{"ignored_users": object{bob.user: object{}}})
		alice.wantChunk("messages forwards", v3+"/rooms/"+room+"/messages?dir=f&from="+start, first, topic, middle, last)
		alice.wantChunk("messages backwards", v3+"/rooms/"+room+"/messages?dir=b&limit=4", last, middle, topic, first)
		around := alice.must("GET", v3+"/rooms/"+room+"/context/"+middle+"?limit=4", nil)
		before, _ := around.at("events_before").([]any)
		after, _ := around.at("events_after").([]any)
		if len(before) != 2 || before[0].(map[string]any)["event_id"] != topic || len(after) != 1 || after[0].(map[string]any)["event_id"] != last {
			t.Errorf("context: %s", around.body)
		}
		alice.since = start
		events, _ := alice.sync().at("rooms", "join", room, "timeline", "events").([]any)
		var ids []string
		for _, e := range events {
			ids = append(ids, e.(map[string]any)["event_id"].(string))
		}
		if !slices.Equal(ids, []string{first, topic, middle, last}) {
			t.Errorf("sync: %v", ids)
		}
		alice.wantFound("search", "rude rudeness", []string{})
		alice.wantFound("search", "rudeness", []string{topic})
		alice.wantFound("search", "rude", []string{})
		if all := carol.must("GET", v3+"/rooms/"+room+"/messages?dir=f&from="+start, nil); !slices.Contains(chunkBodies(all), "rude") {
			t.Errorf("carol ignores nobody: %s", all.body)
		}
	})
}

// Filters by events that relate to others do the same wherever there are filters.
func TestFiltersByRelatedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		alice.since = ""
		alice.sync()
		start := alice.since
		one := alice.say(room, "word one")
		two := alice.say(room, "word two")
		three := alice.say(room, "word three")
		alice.relate(room, "m.thread", one, "a")
		bob.relate(room, "m.thread", two, "b")
		bob.relate(room, "m.reference", three, "c")
		for filter, want := range map[string][]string{
			`"related_by_rel_types":["m.thread"]`:                                           {one, two},
			`"related_by_rel_types":["m.thread","m.reference"]`:                             {one, two, three},
			`"related_by_senders":["` + bob.user + `"]`:                                     {two, three},
			`"related_by_senders":["` + bob.user + `"],"related_by_rel_types":["m.thread"]`: {two},
			`"io.element.relation_senders":["` + alice.user + `"]`:                          {one},
			`"related_by_senders":[]`:                                                       {},
		} {
			alice.since = start
			res := alice.sync("filter", `{"room":{"timeline":{`+filter+`}}}`)
			events, _ := res.at("rooms", "join", room, "timeline", "events").([]any)
			ids := []string{}
			for _, e := range events {
				ids = append(ids, e.(map[string]any)["event_id"].(string))
			}
			if !slices.Equal(ids, want) {
				t.Errorf("/sync with %s: %v, want %v", filter, ids, want)
			}
			alice.since = ""
			whole := alice.sync("filter", `{"room":{"timeline":{"limit":50,`+filter+`}}}`)
			if events, _ := whole.at("rooms", "join", room, "timeline", "events").([]any); len(events) != len(want) {
				t.Errorf("the first /sync with %s: %s", filter, whole.body)
			}
			around := alice.must("GET", v3+"/rooms/"+room+"/context/"+two+"?limit=20&filter="+url.QueryEscape("{"+filter+"}"), nil)
			before, _ := around.at("events_before").([]any)
			after, _ := around.at("events_after").([]any)
			if got := len(before) + len(after); got != len(slices.DeleteFunc(slices.Clone(want), func(id string) bool { return id == two })) {
				t.Errorf("/context with %s: %s", filter, around.body)
			}
		}
		alice.wantFound("search", "word", []string{two}, "filter", object{"related_by_senders": []string{bob.user}, "related_by_rel_types": []string{"m.thread"}})
	})
}

// Policy lists and packs of images are state and account data like any other.
func TestPolicyListsAndImagePacks(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		pack := object{"images": object{"smile": object{"url": "mxc://hs.example/smile", "body": "a smile", "usage": []string{"emoticon"}}}, "pack": object{"display_name": "Smiles"}}
		rule := func(entity string) object {
			return object{"entity": entity, "recommendation": "m.ban", "reason": "spam"}
		}
		state := map[string]object{
			"m.policy.rule.user/rule:@spam:*": rule("@spam:*"), "m.policy.rule.room/one": rule("!bad:example.org"), "m.policy.rule.server/": rule("*.example.org"),
			"m.image_pack/": pack, "m.room.image_pack/": pack, "im.ponies.room_emotes/ponies": pack,
		}
		for key, content := range state {
			alice.must("PUT", v3+"/rooms/"+room+"/state/"+key, content)
		}
		data := map[string]object{
			"m.image_pack": pack, "im.ponies.user_emotes": pack,
			"m.image_pack.rooms":    {"rooms": object{room: object{"": object{}}}},
			"im.ponies.emote_rooms": {"rooms": object{room: object{"ponies": object{}}}},
		}
		for key, content := range data {
			bob.must("PUT", v3+"/user/"+bob.user+"/account_data/"+key, content)
		}
		for key, content := range state {
			if got := bob.must("GET", v3+"/rooms/"+room+"/state/"+key, nil); !same(got.at(), content) {
				t.Errorf("%s: %s", key, got.body)
			}
		}
		for key, content := range data {
			if got := bob.must("GET", v3+"/user/"+bob.user+"/account_data/"+key, nil); !same(got.at(), content) {
				t.Errorf("%s: %s", key, got.body)
			}
		}
		res := bob.sync("filter", `{"room":{"timeline":{"limit":1}}}`)
		inState, _ := res.at("rooms", "join", room, "state", "events").([]any)
		inTimeline, _ := res.at("rooms", "join", room, "timeline", "events").([]any)
		found := 0
		for _, e := range append(inState, inTimeline...) {
			event := e.(map[string]any)
			if content, ok := state[event["type"].(string)+"/"+event["state_key"].(string)]; ok && same(event["content"], content) {
				found++
			}
		}
		if found != len(state) {
			t.Errorf("/sync has %d of %d state events: %s", found, len(state), res.body)
		}
		found = 0
		for _, e := range res.at("account_data", "events").([]any) {
			event := e.(map[string]any)
			if content, ok := data[event["type"].(string)]; ok && same(event["content"], content) {
				found++
			}
		}
		if found != len(data) {
			t.Errorf("/sync has %d of %d pieces of account data: %s", found, len(data), res.body)
		}
	})
}

// Scripts send and redact without transaction IDs, as it was at first.
func TestEventsWithoutTransactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		alice.wholeServer, bob.wholeServer = s.plain(), s.plain()
		at := "/_matrix/client/r0/rooms/" + room
		var sent []string
		for range 2 {
			sent = append(sent, bob.must("POST", at+"/send/m.room.message", object{"msgtype": "m.text", "body": "done"}).field("event_id"))
		}
		if sent[0] == sent[1] {
			t.Errorf("sent twice, and got %s", sent)
		}
		redaction := bob.must("POST", at+"/redact/"+url.PathEscape(sent[0]), object{"reason": "twice"}).field("event_id")
		bob.must("POST", v3+"/rooms/"+room+"/redact/"+url.PathEscape(redaction), "")
		for i, body := range []any{nil, "done"} {
			if got := alice.must("GET", v3+"/rooms/"+room+"/event/"+url.PathEscape(sent[i]), nil).at("content", "body"); got != body {
				t.Errorf("message %d says %v", i, got)
			}
		}
		later := bob.must("POST", v3+"/rooms/"+room+"/send/x.type?org.matrix.msc4140.delay=60000", object{})
		if later.field("delay_id") == "" || later.field("event_id") != "" {
			t.Errorf("sent later: %s", later.body)
		}
		bob.refused("POST", at+"/send/m.room.message", "[]", 400, "M_BAD_JSON")
		bob.refused("POST", at+"/redact/$none", object{}, 404, "M_NOT_FOUND")
		s.person("carol").refused("POST", at+"/send/x.type", object{}, 403, "M_FORBIDDEN")
	})
}
