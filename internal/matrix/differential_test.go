package matrix_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// The tests of this file hold this package against gomatrixserverlib, an
// implementation that nobody here wrote, on generated JSON and events.

func TestCanonicalJSONLikeOthers(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 3000 {
		in := g.object(4)
		got, err := matrix.CanonicalJSON(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		want, err := gomatrixserverlib.EnforcedCanonicalJSON(in, gomatrixserverlib.RoomVersionV11)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s\n  here  %s\n  there %s", in, got, want)
		}
		if slow, err := slowCanonical(in); err != nil || !bytes.Equal(got, slow) {
			t.Fatalf("%s\n  here %s\n  slow %s, %v", in, got, slow, err)
		}
	}
}

func TestSignJSONLikeOthers(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 200 {
		in := g.object(3)
		got, err := matrix.SignJSON(in, "example.org", testKey)
		if err != nil {
			t.Fatal(err)
		}
		there, err := gomatrixserverlib.SignJSON("example.org", gomatrixserverlib.KeyID(testKey.ID), testKey.Private, in)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := matrix.CanonicalJSON(there); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("here  %s\nthere %s", got, there)
		}
		if err := gomatrixserverlib.VerifyJSON("example.org", gomatrixserverlib.KeyID(testKey.ID), testKey.Public(), got); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOurEventsElsewhere: what is built here has the same ID, hash,
// signature and redaction there.
func TestOurEventsElsewhere(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(5, 6))}
	for _, v := range roomversion.All() {
		there := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(v.ID))
		for range 100 {
			e := build(t, v, g.template(v))
			pdu, err := there.NewEventFromUntrustedJSON(e.JSON())
			if err != nil {
				t.Fatalf("version %s: %s: %v", v.ID, e.JSON(), err)
			}
			if pdu.EventID() != string(e.ID) || pdu.RoomID().String() != string(e.RoomID) || !bytes.Equal(pdu.JSON(), e.JSON()) || pdu.Redacted() {
				t.Fatalf("version %s: %s is there %s\n%s", v.ID, e.JSON(), pdu.EventID(), pdu.JSON())
			}
			compareRedaction(t, e, there)
		}
	}
}

// TestTheirEventsHere is the other way round.
func TestTheirEventsHere(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(7, 8))}
	for _, v := range roomversion.All() {
		there := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(v.ID))
		for range 100 {
			pdu := g.pdu(t, v, there)
			e, err := matrix.ParseEvent(v, pdu.JSON())
			if err != nil {
				t.Fatalf("version %s: %s: %v", v.ID, pdu.JSON(), err)
			}
			if string(e.ID) != pdu.EventID() || string(e.RoomID) != pdu.RoomID().String() || !bytes.Equal(pdu.JSON(), e.JSON()) || !e.CheckHash() {
				t.Fatalf("version %s: %s is here %s\n%s", v.ID, pdu.JSON(), e.ID, e.JSON())
			}
			if string(e.Sender) != string(pdu.SenderID()) || e.Type != pdu.Type() || e.Depth != pdu.Depth() || e.OriginServerTS != int64(pdu.OriginServerTS()) {
				t.Fatalf("version %s: %s is here %+v", v.ID, pdu.JSON(), e)
			}
			if err := e.VerifySignature("example.org", testKey.ID, testKey.Public()); err != nil {
				t.Fatalf("version %s: %s: %v", v.ID, pdu.JSON(), err)
			}
			compareRedaction(t, e, there)
		}
	}
}

func compareRedaction(t *testing.T, e *matrix.Event, there gomatrixserverlib.IRoomVersion) {
	t.Helper()
	redacted, err := e.Redact()
	if err != nil {
		t.Fatal(err)
	}
	want, err := there.RedactEventJSON(e.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if want, err = matrix.CanonicalJSON(want); err != nil || !bytes.Equal(redacted.JSON(), want) {
		t.Fatalf("version %s: %s\n  redacted here  %s\n  redacted there %s", e.Version.ID, e.JSON(), redacted.JSON(), want)
	}
	if err := gomatrixserverlib.VerifyJSON("example.org", gomatrixserverlib.KeyID(testKey.ID), testKey.Public(), redacted.JSON()); err != nil {
		t.Fatalf("version %s: %s: %v", e.Version.ID, redacted.JSON(), err)
	}
}

// A generator makes random JSON and events.
type generator struct{ *rand.Rand }

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g generator) space() string { return g.pick("", "", "", " ", "\n\t") }

// text is the inside of a string literal, with escapes of all kinds.
func (g generator) text() string {
	var text strings.Builder
	for range g.IntN(12) {
		text.WriteString(g.pick("a", "Z", "hello ", "é", "日本", "😀", `\n`, `\u00e9`, `\"`, `\\`, `\/`, `\b`, `\f`, `\u001F`, `\ud83d\ude00`, `\u0041`, "\x7f", "<", "\u2028", `\u2029`))
	}
	return text.String()
}

// key has no escapes: gomatrixserverlib writes them back unescaped.
func (g generator) key() string {
	return g.pick("a", "b", "aa", "B", "_", "é", "日", "😀", "\uffff", "membership", "creator", "join_rule", "allow", "users", "invite", "ban", "events",
		"redact", "redacts", "aliases", "history_visibility", "notifications", "join_authorised_via_users_server", "x.y", "1", "", "content")
}

func (g generator) value(depth int) string {
	switch n := g.IntN(9); {
	case n < 2 && depth > 0:
		return string(g.object(depth - 1))
	case n == 2 && depth > 0:
		var elements []string
		for range g.IntN(4) {
			elements = append(elements, g.space()+g.value(depth-1)+g.space())
		}
		return "[" + strings.Join(elements, ",") + "]"
	case n < 5:
		return fmt.Sprint(g.Int64N(1<<54-1) - (1<<53 - 1))
	case n == 5:
		return fmt.Sprint(g.IntN(200) - 100)
	case n == 6:
		return g.pick("true", "false", "null")
	}
	return `"` + g.text() + `"`
}

func (g generator) object(depth int) []byte {
	seen := map[string]bool{}
	var members []string
	for range g.IntN(7) {
		if key := g.key(); !seen[key] {
			seen[key] = true
			members = append(members, g.space()+`"`+key+`"`+g.space()+":"+g.space()+g.value(depth))
		}
	}
	return []byte("{" + strings.Join(members, ",") + g.space() + "}")
}

func (g generator) template(v *roomversion.Version) matrix.EventTemplate {
	template := matrix.EventTemplate{
		Type: g.pick("m.room.message", "m.room.member", "m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility",
			"m.room.aliases", "m.room.topic", "m.room.third_party_invite", "m.room.redaction", "org.example.x\ty"),
		Content: g.object(3), OriginServerTS: g.Int64N(1 << 42), Depth: 1 + g.Int64N(1000),
		PrevEvents: g.eventIDs(3), AuthEvents: g.eventIDs(5),
	}
	switch {
	case template.Type == "m.room.redaction":
		template.Redacts = "$redacted:example.org"
	case g.IntN(4) > 0 || template.Type == "m.room.create" && v.RoomIDFromCreate:
		template.StateKey = new(g.pick("", "", "@alice:example.org", "x\"y\nz"))
	}
	return template
}

func (g generator) eventIDs(n int) []matrix.EventID {
	ids := []matrix.EventID{}
	for range g.IntN(n + 1) {
		hash := make([]byte, 32)
		for i := range hash {
			hash[i] = byte(g.Uint32())
		}
		ids = append(ids, matrix.EventID("$"+strings.NewReplacer("+", "-", "/", "_").Replace(matrix.Base64(hash))))
	}
	return ids
}

// pdu has the event of a template built by gomatrixserverlib.
func (g generator) pdu(t *testing.T, v *roomversion.Version, there gomatrixserverlib.IRoomVersion) gomatrixserverlib.PDU {
	t.Helper()
	template := fill(v, g.template(v))
	if template.Type == "m.room.create" && v.RoomIDFromCreate {
		template.StateKey, template.RoomID = new(""), ""
	}
	references := func(ids []matrix.EventID) []string {
		texts := []string{}
		for _, id := range ids {
			texts = append(texts, string(id))
		}
		return texts
	}
	builder := there.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
		SenderID: string(template.Sender), RoomID: string(template.RoomID), Type: template.Type, StateKey: template.StateKey,
		PrevEvents: references(template.PrevEvents), AuthEvents: references(template.AuthEvents), Redacts: string(template.Redacts),
		Depth: template.Depth, Content: spec.RawJSON(template.Content),
	})
	pdu, err := builder.Build(time.UnixMilli(template.OriginServerTS), "example.org", gomatrixserverlib.KeyID(testKey.ID), testKey.Private)
	if err != nil {
		t.Fatalf("version %s: %v", v.ID, err)
	}
	return pdu
}
