package federation

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// fuzzVersion is one of all room versions.
func fuzzVersion(n byte) *roomversion.Version {
	return roomversion.All()[int(n)%len(roomversion.All())]
}

// checkEvents wants events to be ones of the room, within limits, that read again as they were.
func checkEvents(t *testing.T, room matrix.RoomID, events []*matrix.Event) {
	t.Helper()
	known := map[matrix.EventID]bool{}
	for _, e := range events {
		if e.RoomID != room || known[e.ID] || len(e.JSON()) > matrix.MaxEventSize {
			t.Errorf("%s of %s, %d bytes", e.ID, e.RoomID, len(e.JSON()))
		}
		known[e.ID] = true
		if _, err := matrix.ParseUserID(string(e.Sender)); err != nil {
			t.Error(err)
		}
		again, err := matrix.ParseHistoricEvent(e.Version, e.JSON())
		if err != nil || again.ID != e.ID {
			t.Errorf("%s is not the same again: %v", e.JSON(), err)
			continue
		}
		if redacted, err := e.Redact(); err != nil || !e.CheckHash() && !bytes.Equal(redacted.JSON(), e.JSON()) {
			t.Errorf("%s has a wrong hash, and is not redacted", e.JSON())
		}
	}
}

const fuzzRoom = matrix.RoomID("!r:example.org")

// fuzzEvent is an event of a room version, with a hash that is right and one that is not.
func fuzzEvent(f *testing.F, v *roomversion.Version) (good, changed string) {
	f.Helper()
	key, err := matrix.ParseSigningKey("ed25519 1 " + matrix.Base64(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	text := "@a:example.org"
	e, err := matrix.EventTemplate{
		RoomID: fuzzRoom, Sender: "@a:example.org", Type: "m.room.member", StateKey: &text, Content: []byte(`{"membership":"join","displayname":"A"}`),
		PrevEvents: []matrix.EventID{"$p:example.org"}, AuthEvents: []matrix.EventID{"$q:example.org"},
	}.Build(v, "example.org", key)
	if err != nil {
		f.Fatal(err)
	}
	return string(e.JSON()), strings.Replace(string(e.JSON()), `"A"`, `"B"`, 1)
}

// FuzzJoinAnswer reads what strangers answer to a join.
func FuzzJoinAnswer(f *testing.F) {
	for _, n := range []byte{0, 9} {
		good, changed := fuzzEvent(f, fuzzVersion(n))
		f.Add(n, []byte(`{"state":[`+good+`,{}],"auth_chain":[`+changed+`],"event":`+good+`,"servers_in_room":["a.example",1],"members_omitted":false}`))
	}
	f.Add(byte(3), []byte(`{"state":null,"auth_chain":[],"members_omitted":true}`))
	f.Fuzz(func(t *testing.T, n byte, raw []byte) {
		j := newJoinReading(&matrix.Event{Version: fuzzVersion(n), RoomID: fuzzRoom})
		err := j.read(newSplitter(bytes.NewReader(raw)))
		checkEvents(t, fuzzRoom, j.answer.State)
		checkEvents(t, fuzzRoom, j.answer.Auth)
		if j.returned != nil {
			checkEvents(t, fuzzRoom, []*matrix.Event{j.returned})
		}
		for _, name := range j.answer.Servers {
			if _, err := matrix.ParseServerName(string(name)); err != nil {
				t.Error(err)
			}
		}
		if err == nil && !json.Valid(raw) && !bytes.ContainsAny(raw, "{[") {
			t.Errorf("%q is an answer", raw)
		}
	})
}

// FuzzHistoryAnswer reads events, those of former days too, and the IDs of events.
func FuzzHistoryAnswer(f *testing.F) {
	good, changed := fuzzEvent(f, fuzzVersion(9))
	f.Add(byte(9), []byte(`{"pdus":[`+good+`,`+good+`,`+changed+`],"ids":["$a","$a","$b"]}`))
	f.Add(byte(9), []byte(`{"pdus":[],"ids":["a"]}`))
	f.Fuzz(func(t *testing.T, n byte, raw []byte) {
		c := newCollection(fuzzVersion(n), fuzzRoom)
		c.parse = receivedHistory
		var events []*matrix.Event
		var list []matrix.EventID
		_ = readEvents(newSplitter(bytes.NewReader(raw)), map[string]taker{"pdus": c.list(&events), "ids": eventIDs(&list)})
		checkEvents(t, fuzzRoom, events)
		slices.Sort(list)
		if len(slices.Compact(list)) != len(list) {
			t.Errorf("%s twice", list)
		}
		for _, id := range list {
			if _, err := matrix.ParseEventID(string(id)); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzTemplate rebuilds what strangers propose: it can always be built, and is what was asked for.
func FuzzTemplate(f *testing.F) {
	key, err := matrix.NewSigningKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"room_version":"10","event":{"type":"m.room.member","room_id":"!r:example.org","sender":"@a:here","state_key":"@a:here","depth":5,
		"content":{"membership":"join","join_authorised_via_users_server":"@b:example.org"},"prev_events":["$a"],"auth_events":["$b","$c"]}}`))
	f.Add([]byte(`{"event":{"type":"m.room.member","room_id":"!r:example.org","sender":"@a:here","state_key":"@a:here",
		"content":{"membership":"join"},"prev_events":[["$a",{"sha256":"` + matrix.Base64(make([]byte, 32)) + `"}],["$d"],"$e"],"auth_events":[]}}`))
	w := wanted{server: "example.org", room: fuzzRoom, user: "@a:here", membership: "join", versions: supportedVersions()}
	f.Fuzz(func(t *testing.T, raw []byte) {
		template, err := parseTemplate(raw, w)
		if err != nil {
			return
		}
		e, err := template.Event.Build(template.Version, "here", key)
		if err != nil {
			t.Fatal(err)
		}
		if !e.Is("m.room.member", "@a:here") || e.Sender != "@a:here" || e.RoomID != fuzzRoom || e.Membership() != "join" || len(e.PrevEvents) == 0 {
			t.Errorf("%s", e.JSON())
		}
		if by := authoriser(e); by != "" && by != "example.org" {
			t.Errorf("%s", e.JSON())
		}
		checkEvents(t, fuzzRoom, []*matrix.Event{e})
		if _, err := matrix.ParseEvent(template.Version, e.JSON()); err != nil {
			t.Error(err)
		}
	})
}

// FuzzStripped reads what strangers say a room is like.
func FuzzStripped(f *testing.F) {
	good, changed := fuzzEvent(f, fuzzVersion(9))
	f.Add(byte(9), []byte(good))
	f.Add(byte(9), []byte(changed))
	f.Add(byte(9), []byte(`{"type":"m.room.name","state_key":"","sender":"@a:b","content":{"name":"x"}}`))
	f.Add(byte(11), []byte(`{"type":"m.room.create","state_key":"","sender":"@a:b","content":{}}`))
	f.Fuzz(func(t *testing.T, n byte, raw []byte) {
		v := fuzzVersion(n)
		var said []json.RawMessage
		_ = readKnock(newSplitter(bytes.NewReader(slices.Concat([]byte(`{"knock_room_state":[`), raw, []byte(`]}`)))), &said)
		for _, raw := range said {
			s, ok := parseStripped(v, fuzzRoom, raw)
			if !ok {
				continue
			}
			if s.StateKey == nil || len(s.Type) > matrix.MaxIDLength || s.whole == nil && v.RoomIDFromCreate && s.Type == "m.room.create" {
				t.Errorf("%+v", s)
			}
			if _, err := json.Marshal(s); err != nil {
				t.Error(err)
			}
			var content map[string]json.RawMessage
			if err := json.Unmarshal(s.Content, &content); err != nil || content == nil {
				t.Errorf("%s %v", s.Content, err)
			}
		}
	})
}

// FuzzInviteAnswer reads an invite that comes back, in both forms.
func FuzzInviteAnswer(f *testing.F) {
	good, _ := fuzzEvent(f, fuzzVersion(9))
	f.Add(byte(9), []byte(`{"event":`+good+`}`))
	f.Add(byte(9), []byte(`[200,{"event":`+good+`}]`))
	f.Fuzz(func(t *testing.T, n byte, raw []byte) {
		invite := &matrix.Event{Version: fuzzVersion(n), RoomID: fuzzRoom}
		for _, first := range []bool{false, true} {
			var returned *matrix.Event
			s := newSplitter(bytes.NewReader(raw))
			read := func() error { return readInvite(s, invite, &returned) }
			err := error(nil)
			if first {
				err = s.pair(read)
			} else {
				err = read()
			}
			if err == nil {
				checkEvents(t, fuzzRoom, []*matrix.Event{returned})
			}
		}
	})
}
