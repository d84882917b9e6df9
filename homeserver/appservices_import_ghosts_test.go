package homeserver_test

import (
	"net/url"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
)

// Who talks in a batch of MSC2716 has to join in its state_events_at_start. Here
// ghosts need not, and become no members by it; such state is not passed over in
// silence, and the proposal's own path is not there.
func TestGhostsOfThePastAreNoMembers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := newImporter(t, database)
		room := "/_matrix/client/v3/rooms/" + url.PathEscape(string(i.room))
		isNoMember := func() {
			t.Helper()
			status, members := request(t, i.alice, "GET", room+"/state/m.room.member/@irc_bob:test", nil, nil)
			wantRefusal(t, "the ghost's membership", status, members, 404, "M_NOT_FOUND")
			if _, joined := request(t, i.alice, "GET", room+"/joined_members", nil, nil); len(joined["joined"].(map[string]any)) != 2 {
				t.Errorf("in the room are %v", joined)
			}
		}
		i.imports(&mautrix.ReqBeeperBatchSend{Events: []*event.Event{past("hello", 1000, true)}})
		i.wantHistory("hello", "create")
		isNoMember()

		joins := map[string]any{
			"type": "m.room.member", "sender": "@irc_bob:test", "state_key": "@irc_bob:test", "origin_server_ts": 900,
			"content": map[string]string{"membership": "join", "displayname": "Bob"},
		}
		said := map[string]any{
			"type": "m.room.message", "sender": "@irc_bob:test", "origin_server_ts": 1000,
			"content": map[string]string{"msgtype": "m.text", "body": "refused"},
		}
		batch := map[string]any{"state_events_at_start": []any{joins}, "events": []any{said}}
		const unstable = "/_matrix/client/unstable/"
		at := "/rooms/" + url.PathEscape(string(i.room)) + "/batch_send"
		status, members := request(t, i.bot, "POST", unstable+"com.beeper.backfill"+at, nil, batch)
		wantRefusal(t, "state at the start", status, members, 400, "M_INVALID_PARAM")
		if !strings.Contains(members["error"].(string), "state_events_at_start") {
			t.Errorf("it does not say why: %v", members)
		}
		status, members = request(t, i.bot, "POST", unstable+"org.matrix.msc2716"+at, url.Values{"prev_event_id": {"$hello:irc.example"}}, batch)
		wantRefusal(t, "the path of MSC2716", status, members, 404, "M_UNRECOGNIZED")
		i.wantHistory("hello", "create")
		isNoMember()
		versions, err := i.bot.Versions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for feature := range versions.UnstableFeatures {
			if strings.Contains(feature, "msc2716") {
				t.Errorf("bridges are told of %s", feature)
			}
		}
	})
}
