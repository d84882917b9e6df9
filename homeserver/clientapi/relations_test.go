package clientapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// chunkIDs is the event IDs of a chunk, in its order.
func chunkIDs(r reply) []string {
	list, _ := r.at("chunk").([]any)
	ids := []string{}
	for _, e := range list {
		ids = append(ids, fmt.Sprint(e.(map[string]any)["event_id"]))
	}
	return ids
}

// relate sends a message that relates to another event.
func (d *device) relate(room, relType, event, body string, more ...any) string {
	d.t.Helper()
	return d.say(room, body, append([]any{"m.relates_to", object{"rel_type": relType, "event_id": event}}, more...)...)
}

func (d *device) wantChunk(what, path string, want ...string) reply {
	d.t.Helper()
	res := d.must("GET", path, nil)
	if got := chunkIDs(res); !slices.Equal(got, want) {
		d.t.Errorf("%s: %v, want %v", what, got, want)
	}
	return res
}

func TestRelations(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, address string) {
		s := newWholeServer(t, address)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		root := alice.say(room, "root")
		reply := bob.relate(room, "m.thread", root, "reply")
		edit := alice.relate(room, "m.replace", root, "* edited", "m.new_content", object{"msgtype": "m.text", "body": "edited"})
		stolen := bob.relate(room, "m.replace", root, "* stolen", "m.new_content", object{"msgtype": "m.text", "body": "stolen"})
		path := "/_matrix/client/v1/rooms/" + room + "/relations/" + root
		alice.wantChunk("all", path, stolen, edit, reply)
		alice.wantChunk("by type", path+"/m.thread", reply)
		alice.wantChunk("by both types", path+"/m.thread/m.room.message", reply)
		alice.wantChunk("of no type", path+"/m.thread/m.nothing")
		next := alice.wantChunk("a page", path+"?limit=2", stolen, edit).field("next_batch")
		alice.wantChunk("the last page", path+"?limit=2&from="+next, reply)
		next = alice.wantChunk("forwards", path+"?limit=2&dir=f", reply, edit).field("next_batch")
		alice.wantChunk("forwards on", path+"?limit=2&dir=f&from="+next, stolen)
		deep := alice.relate(room, "m.reference", reply, "deep")
		if res := alice.wantChunk("recursively", path+"?recurse=true", deep, stolen, edit, reply); res.at("recursion_depth") != 3.0 {
			t.Errorf("depth: %s", res.body)
		}

		got := alice.must("GET", v3+"/rooms/"+room+"/event/"+root, nil)
		if got.at("unsigned", "m.relations", "m.replace", "event_id") != edit || got.at("content", "body") != "root" ||
			got.at("unsigned", "m.relations", "m.thread", "latest_event", "event_id") != reply ||
			got.at("unsigned", "m.relations", "m.thread", "count") != 1.0 ||
			got.at("unsigned", "m.relations", "m.thread", "current_user_participated") != true {
			t.Errorf("bundled: %s", got.body)
		}
		alice.must("PUT", v3+"/rooms/"+room+"/redact/"+edit+"/1", object{})
		alice.wantChunk("without what is redacted", path+"/m.replace", stolen)
		if got := alice.must("GET", v3+"/rooms/"+room+"/event/"+root, nil); got.at("unsigned", "m.relations", "m.replace") != nil {
			t.Errorf("a redacted edit: %s", got.body)
		}
		alice.must("PUT", v3+"/user/"+alice.user+"/account_data/m.ignored_user_list", object{"ignored_users": object{bob.user: object{}}})
		alice.wantChunk("without the ignored", path)
		if got := alice.must("GET", v3+"/rooms/"+room+"/event/"+root, nil); got.at("unsigned", "m.relations") != nil {
			t.Errorf("of the ignored: %s", got.body)
		}
	})
}

func TestRelationsRefuse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, address string) {
		s := newWholeServer(t, address)
		alice, stranger := s.person("alice"), s.person("stranger")
		room := alice.must("POST", v3+"/createRoom", object{"preset": "private_chat"}).field("room_id")
		root := alice.say(room, "root")
		reply := alice.relate(room, "m.thread", root, "reply")
		path := "/_matrix/client/v1/rooms/" + room
		stranger.refused("GET", path+"/relations/"+root, nil, 404, "M_NOT_FOUND")
		stranger.refused("GET", path+"/threads", nil, 403, "M_FORBIDDEN")
		alice.refused("GET", path+"/relations/$unknown", nil, 404, "M_NOT_FOUND")
		alice.refused("GET", path+"/relations/"+root+"?from=x", nil, 400, "M_INVALID_PARAM")
		alice.refused("GET", path+"/threads?from=x", nil, 400, "M_INVALID_PARAM")
		alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/n", object{
			"body": "nested", "msgtype": "m.text", "m.relates_to": object{"rel_type": "m.thread", "event_id": reply},
		}, 400, "M_UNKNOWN")
		reaction := object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": root, "key": "+"}}
		alice.must("PUT", v3+"/rooms/"+room+"/send/m.reaction/1", reaction)
		alice.refused("PUT", v3+"/rooms/"+room+"/send/m.reaction/2", reaction, 400, "M_DUPLICATE_ANNOTATION")
	})
}

func TestThreads(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, address string) {
		s := newWholeServer(t, address)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		one, two := alice.say(room, "one"), bob.say(room, "two")
		bob.relate(room, "m.thread", one, "1")
		bob.relate(room, "m.thread", two, "2")
		path := "/_matrix/client/v1/rooms/" + room + "/threads"
		alice.wantChunk("all", path, two, one)
		alice.wantChunk("alice's", path+"?include=participated", one)
		bob.wantChunk("bob's", path+"?include=participated", two, one)
		next := alice.wantChunk("a page", path+"?limit=1", two).field("next_batch")
		alice.wantChunk("the next", path+"?limit=1&from="+next, one)
		bob.relate(room, "m.thread", one, "3")
		alice.wantChunk("with a new event", path, one, two)
	})
}

// The first answers about several rooms, which are read together, sum up each of them.
func TestRelationsOfManyRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, address string) {
		s := newWholeServer(t, address)
		alice := s.person("alice")
		edits := map[string]string{}
		var plain string
		for i := range 3 {
			room := alice.room()
			root := alice.say(room, "root")
			if i == 1 {
				plain = room
				continue
			}
			edits[room] = alice.relate(room, "m.replace", root, "* edited", "m.new_content", object{"msgtype": "m.text", "body": "edited"})
		}
		edited := func(events []any) (found string) {
			for _, e := range events {
				raw, _ := json.Marshal(e)
				if id, ok := (reply{body: string(raw)}).at("unsigned", "m.relations", "m.replace", "event_id").(string); ok {
					found = id
				}
			}
			return found
		}
		first := alice.sync()
		list := object{"ranges": [][]int{{0, 9}}, "timeline_limit": 5, "required_state": [][]string{}}
		sliding := alice.must("POST", slidingPath, object{"lists": object{"all": list}})
		for _, room := range []string{plain, slices.Sorted(maps.Keys(edits))[0], slices.Sorted(maps.Keys(edits))[1]} {
			old, _ := first.at("rooms", "join", room, "timeline", "events").([]any)
			now, _ := sliding.at("rooms", room, "timeline").([]any)
			if len(old) == 0 || len(now) == 0 {
				t.Fatalf("nothing of %s", room)
			}
			if a, b, want := edited(old), edited(now), edits[room]; a != want || b != want {
				t.Errorf("edits %q and, by sliding sync, %q; want %q", a, b, want)
			}
		}
	})
}

func TestFiltersOfRelations(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, address string) {
		s := newWholeServer(t, address)
		alice := s.person("alice")
		room := alice.room()
		alice.sync()
		from := alice.since
		root := alice.say(room, "root")
		thread := alice.relate(room, "m.thread", root, "thread")
		reference := alice.relate(room, "m.reference", root, "reference")
		for filter, want := range map[string][]string{
			`{"org.matrix.msc3874.rel_types":["m.thread"]}`:                 {thread},
			`{"rel_types":["m.thread","m.reference"]}`:                      {thread, reference},
			`{"org.matrix.msc3874.not_rel_types":["m.thread"]}`:             {root, reference},
			`{"not_rel_types":["m.thread","m.reference"]}`:                  {root},
			`{"related_by_rel_types":["m.thread"]}`:                         {root},
			`{"related_by_senders":["@alice:hs.example"]}`:                  {root},
			`{"related_by_senders":["@bob:hs.example"]}`:                    {},
			`{"event_fields":["content.body"],"rel_types":["m.reference"]}`: {reference},
		} {
			q := url.Values{"dir": {"f"}, "from": {from}, "filter": {filter}}
			alice.wantChunk(filter, v3+"/rooms/"+room+"/messages?"+q.Encode(), want...)
		}
	})
}
