package federation

import (
	"bytes"
	"fmt"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// largeRoom is the answer to a join of a room with so many members of so many servers, each of whom was invited before, and
// the keys of the servers.
func largeRoom(b *testing.B, members, servers int) (join *matrix.Event, answer []byte, keys map[matrix.ServerName]matrix.SigningKey) {
	b.Helper()
	v, _ := roomversion.Lookup("10")
	keys = map[matrix.ServerName]matrix.SigningKey{}
	for i := range servers {
		key, err := matrix.NewSigningKey()
		if err != nil {
			b.Fatal(err)
		}
		keys[matrix.ServerName(fmt.Sprintf("server%d.example", i))] = key
	}
	member := func(i int, membership string) *matrix.Event {
		server := matrix.ServerName(fmt.Sprintf("server%d.example", i%servers))
		user := matrix.NewUserID(fmt.Sprintf("member%d", i), server)
		text := string(user)
		e, err := matrix.EventTemplate{
			RoomID: "!room:server0.example", Sender: user, Type: "m.room.member", StateKey: &text, Depth: int64(i), OriginServerTS: 1_700_000_000_000,
			Content:    fmt.Appendf(nil, `{"avatar_url":"mxc://server0.example/aBcDeFgHiJkLmNoPqRsTuVwX","displayname":"Member %d","membership":%q}`, i, membership),
			PrevEvents: []matrix.EventID{"$0123456789012345678901234567890123456789abc"},
			AuthEvents: []matrix.EventID{
				"$0123456789012345678901234567890123456789abd", "$0123456789012345678901234567890123456789abe", "$0123456789012345678901234567890123456789abf",
			},
		}.Build(v, server, keys[server])
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
	var out bytes.Buffer
	for _, part := range []struct{ name, membership string }{{`{"state":[`, "join"}, {`],"auth_chain":[`, "leave"}} {
		out.WriteString(part.name)
		for j := range members {
			if j > 0 {
				out.WriteByte(',')
			}
			e := member(j, part.membership).JSON()
			out.Write(e[:len(e)-1])
			out.WriteString(`,"unsigned":{"age":123456}}`)
		}
	}
	out.WriteString(`],"members_omitted":false}`)
	return member(members, "join"), out.Bytes(), keys
}

// BenchmarkReadJoin reads the answer to a join of a room of 5,000 members, without a network.
func BenchmarkReadJoin(b *testing.B) {
	join, answer, _ := largeRoom(b, 5000, 200)
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		reading := newJoinReading(join)
		if err := reading.read(newSplitter(bytes.NewReader(answer))); err != nil || len(reading.answer.State)+len(reading.answer.Auth) != 10000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyEvents verifies 10,000 events of 200 servers whose keys are known.
func BenchmarkVerifyEvents(b *testing.B) {
	join, answer, keys := largeRoom(b, 5000, 200)
	db, err := database.Open(b.Context(), testkit.SQLite(b), migrations.Homeserver, database.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Close)
	key, err := matrix.NewSigningKey()
	if err != nil {
		b.Fatal(err)
	}
	client := NewClient(ClientOptions{ServerName: "here.example", Key: key})
	ring := NewKeyRing(KeyOptions{ServerName: "here.example", Key: key, Client: client, DB: db, Store: storage.NewServerKeys(db)})
	for name, key := range keys {
		err := ring.save(b.Context(), storage.ServerKeyAnswer{Server: name, Answer: []byte(`{}`), ValidUntil: 2e12},
			[]storage.ServerKey{{ID: key.ID, Public: key.Public(), ValidUntil: 2e12, Current: true}}, true)
		if err != nil {
			b.Fatal(err)
		}
	}
	reading := newJoinReading(join)
	if err := reading.read(newSplitter(bytes.NewReader(answer))); err != nil {
		b.Fatal(err)
	}
	events := append(reading.answer.State, reading.answer.Auth...)
	b.ReportAllocs()
	for b.Loop() {
		if good, err := ring.VerifyEvents(b.Context(), events); err != nil || len(good) != len(events) {
			b.Fatal(len(good), err)
		}
	}
}
