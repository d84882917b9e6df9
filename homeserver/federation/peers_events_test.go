package federation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/internal/matrix"
)

// Events that are asked for are those, or the answer is nonsense.
func TestEventAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	peers := w.peers()
	v := lookup(t, "10")
	e := member(t, v, aRoom, aUser, `{"membership":"join","displayname":"Ann"}`, w.key)
	other := member(t, v, aRoom, aUser, `{"membership":"leave"}`, w.key)
	elsewhere := member(t, v, "!other:there.example", aUser, `{"membership":"join"}`, w.key)
	text, ctx := string(e.JSON()), t.Context()
	transaction := func(events ...string) string {
		return `{"origin":"x","origin_server_ts":1,"pdus":[` + strings.Join(events, ",") + `]}`
	}
	get := func(answer string) (*matrix.Event, error) {
		p.set(answers(200, answer))
		return peers.Event(ctx, p.name, v, aRoom, e.ID)
	}
	if got, err := get(transaction(text)); err != nil || string(got.JSON()) != text {
		t.Errorf("%v %v", got, err)
	}
	if got, err := get(transaction(changed(e, "Ann", "Eve"))); err != nil || string(got.Content) != `{"membership":"join"}` {
		t.Errorf("what its sender has not written: %v %v", got, err)
	}
	for what, answer := range map[string]string{
		"no event": transaction(), "another": transaction(string(other.JSON())), "two": transaction(text, text), "no transaction": text, "null": `{"pdus":null}`,
		"in another room": transaction(string(elsewhere.JSON())), "too much": transaction(text) + strings.Repeat(" ", 1<<20),
	} {
		if got, err := get(answer); !errors.Is(err, federation.ErrAnswer) {
			t.Errorf("%s: %v %v", what, got, err)
		}
	}
	p.set(answers(200, transaction(text)))
	if _, err := peers.Event(ctx, p.name, v, "!other:there.example", e.ID); !errors.Is(err, federation.ErrAnswer) {
		t.Errorf("%v", err)
	}

	p.set(answers(200, `{"pdu_ids":["$a","$b","$a"],"auth_chain_ids":null}`))
	if state, auth, err := peers.StateIDs(ctx, p.name, aRoom, "$x"); err != nil || !slices.Equal(state, []matrix.EventID{"$a", "$b"}) || len(auth) != 0 {
		t.Errorf("%v %v %v", state, auth, err)
	}
	for _, answer := range []string{`{"pdu_ids":["a"],"auth_chain_ids":[]}`, `{"pdu_ids":[],"auth_chain_ids":[1]}`, `{"pdu_ids":[]}`, `{"auth_chain_ids":[]}`, `{"pdu_ids":["$` + strings.Repeat("x", 5000) + `"],"auth_chain_ids":[]}`} {
		p.set(answers(200, answer))
		if state, auth, err := peers.StateIDs(ctx, p.name, aRoom, "$x"); !errors.Is(err, federation.ErrAnswer) {
			t.Errorf("%.80s: %v %v %v", answer, state, auth, err)
		}
	}

	// History may refer to more than an event of today may, and be no more than was asked for.
	historic := changed(e, `"prev_events":["$p:x"]`, `"prev_events":["$p`+strings.Join(strings.Fields(strings.Repeat(`q `, 300)), `","$r`)+`"]`)
	p.set(answers(200, transaction(historic, text, string(other.JSON()), string(elsewhere.JSON()))))
	if got, err := peers.Backfill(ctx, p.name, v, aRoom, []matrix.EventID{"$x"}, 2); err != nil || len(got) != 2 || len(got[0].PrevEvents) != 300 || got[1].ID != e.ID {
		t.Errorf("%v %v", got, err)
	}
	p.set(answers(200, `{"events":[`+historic+`,`+text+`]}`))
	if got, err := peers.MissingEvents(ctx, p.name, v, aRoom, nil, []matrix.EventID{"$x"}, -1, 10); err != nil || len(got) != 1 || got[0].ID != e.ID {
		t.Errorf("%v %v", got, err)
	}
	p.set(answers(200, transaction(slices.Repeat([]string{"{}"}, 1001)...)))
	if got, err := peers.Backfill(ctx, p.name, v, aRoom, []matrix.EventID{"$x"}, 2); !errors.Is(err, federation.ErrAnswer) {
		t.Errorf("more than anybody asks for: %v %v", got, err)
	}

	for answer, good := range map[string]bool{
		`{"event_id":"$x","origin_server_ts":5}`: true, `{"event_id":"$x","origin_server_ts":6}`: false, `{"event_id":"x","origin_server_ts":5}`: false,
		`{"event_id":"$x"}`: false, `{}`: false, `{"event_id":"$x","origin_server_ts":"5"}`: false, `{"event_id":"$x","origin_server_ts":-9007199254740993}`: false,
	} {
		p.set(answers(200, answer))
		if id, at, err := peers.TimestampToEvent(ctx, p.name, aRoom, 5, true); (err == nil) != good || err != nil && !errors.Is(err, federation.ErrAnswer) || good && (id != "$x" || at != 5) {
			t.Errorf("%s: %s %d %v", answer, id, at, err)
		}
	}
	p.set(answers(200, `{"event_id":"$x","origin_server_ts":4}`))
	if id, _, err := peers.TimestampToEvent(ctx, p.name, aRoom, 5, false); !errors.Is(err, federation.ErrAnswer) {
		t.Errorf("%s %v", id, err)
	}
}

// What a room is said to be like is shown only if it could be true.
func TestStrippedState(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	p.says(t, w.now.Add(time.Hour), nil, p.key)
	peers := w.peers()
	v := lookup(t, "12")
	build := func(room matrix.RoomID, typ, content string, key matrix.SigningKey) *matrix.Event {
		empty := ""
		e, err := matrix.EventTemplate{
			RoomID: room, Sender: "@a:" + matrix.UserID(p.name), Type: typ, StateKey: &empty, Content: json.RawMessage(content), OriginServerTS: 1_700_000_000_000,
		}.Build(v, p.name, key)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	create := build("", "m.room.create", `{"room_version":"12"}`, p.key)
	room := create.RoomID
	name := build(room, "m.room.name", `{"name":"Good"}`, p.key)
	text := func(typ string) string {
		return `{"type":"` + typ + `","state_key":"","sender":"@a:b.example","content":{"x":"é"},"event_id":"$x","origin_server_ts":1}`
	}
	said := func(texts ...string) (list []json.RawMessage) {
		for _, text := range texts {
			list = append(list, json.RawMessage(text))
		}
		return list
	}
	list, err := peers.Stripped(t.Context(), v, room, said(
		string(create.JSON()), string(name.JSON()), text("m.room.name"), text("m.room.topic"), text("m.room.create"),
		string(build(room, "m.room.avatar", `{"url":"x"}`, newKey(t)).JSON()),
		string(build("!other", "m.room.encryption", `{}`, p.key).JSON()),
		changed(build(room, "m.room.join_rules", `{"join_rule":"public","x":"y"}`, p.key), `"y"`, `"z"`),
		`{}`, `null`, `[`, `{"type":"a","sender":"@a:b","content":{}}`, `{"type":"a","state_key":"","sender":"a","content":{}}`, `{"type":"a","state_key":"","sender":"@a:b","content":[]}`,
		`{"type":"a","state_key":"\u0000","sender":"@a:b","content":{}}`, `{"type":"a","state_key":"","sender":"@a:b","content":{"a":1.5}}`, `{"type":"a","state_key":"`+strings.Repeat("x", 256)+`","sender":"@a:b","content":{}}`,
	))
	sender := `"sender":"@a:` + string(p.name) + `"`
	want := []string{
		`{"content":{"room_version":"12"},` + sender + `,"state_key":"","type":"m.room.create"}`, `{"content":{"name":"Good"},` + sender + `,"state_key":"","type":"m.room.name"}`,
		`{"content":{"x":"é"},"sender":"@a:b.example","state_key":"","type":"m.room.topic"}`, `{"content":{"join_rule":"public"},` + sender + `,"state_key":"","type":"m.room.join_rules"}`,
	}
	var got []string
	for _, raw := range list {
		got = append(got, string(raw))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
	}
	if list, err := peers.Stripped(t.Context(), lookup(t, "10"), aRoom, said(text("m.room.create"))); err != nil || len(list) != 1 {
		t.Errorf("a room of an older version: %s %v", list, err)
	}
	var many []string
	for i := range 1000 {
		many = append(many, text(fmt.Sprint("type", i)))
	}
	if list, err := peers.Stripped(t.Context(), v, room, said(many...)); err != nil || len(list) != 30 {
		t.Errorf("%d of 1000: %v", len(list), err)
	}
	if list, err := peers.Stripped(t.Context(), v, room, nil); err != nil || list == nil || len(list) != 0 {
		t.Errorf("nothing: %v %v", list, err)
	}
}
