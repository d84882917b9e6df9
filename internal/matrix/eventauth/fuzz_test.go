package eventauth_test

import (
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// Whatever contents an event and the room's state have, and whatever the
// version: an answer, never a panic, and the same one with parsed power levels.
func FuzzAllowed(f *testing.F) {
	f.Add(uint8(12), "m.room.member", dave, `{"membership":"join"}`, `{"additional_creators":["@bob:two.example"]}`, `{"users":{"@dave:three.example":1}}`, `{"join_rule":"public"}`)
	f.Add(uint8(10), "m.room.power_levels", "", `{"users":{"@dave:three.example":100},"ban":null}`, `{"creator":"@dave:three.example"}`, `{"users":{"@dave:three.example":100},"events":{"x":1}}`, `{}`)
	f.Add(uint8(9), "m.room.power_levels", "", `{"users":{"@dave:three.example":" +5"},"ban":1e99}`, `{"creator":1}`, `{"users":[]}`, `{"join_rule":["knock"]}`)
	f.Add(uint8(8), "m.room.member", dave, `{"membership":"join","join_authorised_via_users_server":{}}`, `{}`, `{"invite":"1"}`, `{"join_rule":"restricted"}`)
	f.Add(uint8(11), "m.room.member", carol, `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@carol:one.example","token":"","signatures":{"a":{"ed25519:1":"x"}}}}}`, `{}`, `{}`, `{"public_key":"AAAA"}`)
	f.Add(uint8(1), "m.room.redaction", "", `{}`, `{"m.federate":false}`, `{"redact":-1}`, `{}`)
	f.Fuzz(func(t *testing.T, version uint8, typ, stateKey, content, create, power, rules string) {
		all := roomversion.All()
		v := all[int(version)%len(all)]
		load := func(typ, stateKey, content string) *matrix.Event {
			raw, err := matrix.MarshalCanonical(map[string]any{
				"type": typ, "state_key": stateKey, "sender": dave, "room_id": "!r:three.example",
				"origin_server_ts": 1, "depth": 1, "prev_events": []string{}, "auth_events": []string{},
			})
			if err != nil {
				return nil
			}
			canonical, err := matrix.CanonicalJSON([]byte(content))
			if err != nil || len(canonical) == 0 || canonical[0] != '{' {
				return nil
			}
			raw = append(append(append(raw[:len(raw)-1], `,"content":`...), canonical...), '}')
			e, err := matrix.LoadEvent(v, "$id:three.example", raw)
			if err != nil {
				return nil
			}
			return e
		}
		e := load(typ, stateKey, content)
		if e == nil {
			return
		}
		state := eventauth.StateMap{}
		for _, entry := range []*matrix.Event{
			load("m.room.create", "", create), load("m.room.power_levels", "", power), load("m.room.join_rules", "", rules),
			load("m.room.member", dave, content), load("m.room.third_party_invite", "", rules),
		} {
			if entry != nil {
				state[eventauth.StateKey{Type: entry.Type, Key: *entry.StateKey}] = entry
			}
		}
		err := eventauth.Allowed(e, state)
		if err != nil && matrix.Code(err) != "M_FORBIDDEN" {
			t.Fatalf("error %v is not M_FORBIDDEN", err)
		}
		levels := eventauth.PowerLevelsOf(state.Event("m.room.create", ""), state.Event("m.room.power_levels", ""))
		if again := eventauth.Allowed(e, eventauth.WithPowerLevels(state, levels)); (again == nil) != (err == nil) {
			t.Fatalf("with parsed power levels the error is %v, without %v", again, err)
		}
		eventauth.Needed(e)
		if _, err := eventauth.Signers(e); err != nil && matrix.Code(err) != "M_FORBIDDEN" {
			t.Fatalf("error %v is not M_FORBIDDEN", err)
		}
	})
}
