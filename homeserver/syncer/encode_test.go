package syncer_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// Without their methods, encoding/json writes them.
type (
	plainResponse syncer.Response
	plainPage     syncer.Page
)

func TestAnswersAreWrittenAsEncodingJSONWould(t *testing.T) {
	one := int64(1)
	events := []json.RawMessage{json.RawMessage(`{"type":"a"}`), json.RawMessage(`{"type":"b"}`)}
	list := &syncer.EventList{Events: events}
	timeline := &syncer.Timeline{Events: events, Limited: true, PrevBatch: "s1"}
	full := syncer.Response{
		NextBatch: "s2", AccountData: list, Presence: list, ToDevice: list,
		DeviceLists:  &syncer.DeviceList{Changed: []matrix.UserID{"@a:b"}},
		OneTimeKeys:  map[string]int{"signed_curve25519": 3},
		FallbackKeys: []string{"signed_curve25519"},
		Rooms: &syncer.Rooms{
			Join: map[matrix.RoomID]*syncer.JoinedRoom{
				"!b:c": {
					Summary: &syncer.Summary{Heroes: []matrix.UserID{"@a:b"}, Joined: &one}, State: list, StateAfter: list, ProposedStateAfter: list,
					Timeline: timeline, Ephemeral: list, AccountData: list,
				},
				"!a":       {Timeline: &syncer.Timeline{Events: []json.RawMessage{}}},
				"!\"\\é:c": {},
			},
			Invite: map[matrix.RoomID]*syncer.InvitedRoom{"!i": {State: *list}, "!none": {}},
			Knock:  map[matrix.RoomID]*syncer.KnockedRoom{"!k": {State: *list}},
			Leave:  map[matrix.RoomID]*syncer.LeftRoom{"!l": {State: list, StateAfter: list, ProposedStateAfter: list, Timeline: timeline, AccountData: list}},
		},
	}
	for _, r := range []syncer.Response{full, {}, {Rooms: &syncer.Rooms{}}} {
		got, err := r.AppendJSON(nil)
		same(t, got, err, plainResponse(r))
	}
	for _, p := range []syncer.Page{{Start: "s1", End: "s2", Chunk: events, State: events}, {Start: "s1", Chunk: []json.RawMessage{}}, {}} {
		got, err := p.AppendJSON(nil)
		same(t, got, err, plainPage(p))
	}
}

func same(t *testing.T, got []byte, err error, v any) {
	t.Helper()
	want, wantErr := json.Marshal(v)
	if err != nil || wantErr != nil || string(got) != string(want) {
		t.Errorf("%v, %v:\n got %s\nwant %s", err, wantErr, got, want)
	}
}

// BenchmarkResponse is a first answer to a user in 200 rooms.
func BenchmarkResponse(b *testing.B) {
	event := json.RawMessage(fmt.Sprintf(`{"type":"m.room.message","content":{"body":%q}}`, strings.Repeat("hello ", 60)))
	rooms := map[matrix.RoomID]*syncer.JoinedRoom{}
	for i := range 200 {
		events := []json.RawMessage{event, event, event, event, event, event, event, event, event, event}
		rooms[matrix.RoomID(fmt.Sprintf("!%d:c", i))] = &syncer.JoinedRoom{Timeline: &syncer.Timeline{Events: events}}
	}
	r := syncer.Response{NextBatch: "s1", Rooms: &syncer.Rooms{Join: rooms}}
	b.Run("appended", func(b *testing.B) {
		var dst []byte
		for b.Loop() {
			dst, _ = r.AppendJSON(dst[:0])
		}
		b.SetBytes(int64(len(dst)))
	})
	b.Run("encoding", func(b *testing.B) {
		for b.Loop() {
			raw, _ := json.Marshal(plainResponse(r))
			b.SetBytes(int64(len(raw)))
		}
	})
}
