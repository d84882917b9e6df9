package eventauth_test

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestThirdPartyInvite(t *testing.T) {
	signing := key(1)
	public := matrix.Base64(signing.Public())
	good := sign(t, `{"mxid":"`+dave+`","token":"t0k3n"}`, "id.example", signing)
	invite := func(signed string) ev {
		return state(bob, "m.room.member", dave, `{"membership":"invite","third_party_invite":{"display_name":"d","signed":`+signed+`}}`)
	}
	offer := func(content string) ev { return state(bob, "m.room.third_party_invite", "t0k3n", content) }
	offered := offer(`{"public_key":"` + public + `"}`)
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(public)
	other := matrix.Base64(key(2).Public())

	checkRules(t, []rule{
		{name: "signed with the key", given: []ev{offered}, event: invite(good)},
		{name: "signed with one of the keys", given: []ev{offer(`{"public_key":"` + other + `","public_keys":[{"public_key":"` + other + `"},{"public_key":"` + public + `"}]}`)}, event: invite(good)},
		{name: "the key in the URL-safe alphabet", given: []ev{offer(`{"public_key":"` + urlSafe + `"}`)}, event: invite(good)},
		{name: "one of two signatures is good", given: []ev{offered}, event: invite(sign(t, good, "a.example", key(2)))},
		{name: "the inviter has left", given: []ev{offered, member(bob, bob, "leave")}, event: invite(good)},
		{name: "signed with another key", given: []ev{offered}, event: invite(sign(t, `{"mxid":"`+dave+`","token":"t0k3n"}`, "id.example", key(2))), refused: "No key"},
		{name: "changed after signing", given: []ev{offered}, event: invite(strings.Replace(good, `"token"`, `"more":1,"token"`, 1)), refused: "No key"},
		{name: "signatures that are none", given: []ev{offered}, event: invite(`{"mxid":"` + dave + `","token":"t0k3n","signatures":[1]}`), refused: "No key"},
		{name: "the offer has no key", given: []ev{offer(`{}`)}, event: invite(good), refused: "No key"},
		{name: "the offer's keys are none", given: []ev{offer(`{"public_key":1,"public_keys":["x",{"public_key":"AAAA"}]}`)}, event: invite(good), refused: "No key"},
		{name: "there is no offer", event: invite(good), refused: "no longer"},
		{name: "the offer is another's", given: []ev{state(alice, "m.room.third_party_invite", "t0k3n", `{"public_key":"`+public+`"}`)}, event: invite(good), refused: "is that of"},
		{name: "for another user", given: []ev{offered}, event: invite(sign(t, `{"mxid":"`+erin+`","token":"t0k3n"}`, "id.example", signing)), refused: "is for"},
		{name: "the target is banned", given: []ev{offered, member(alice, dave, "ban")}, event: invite(good), refused: "is banned"},
		{name: "no mxid", given: []ev{offered}, event: invite(`{"token":"t0k3n"}`), refused: "lacks"},
		{name: "no token", given: []ev{offered}, event: invite(`{"mxid":"` + dave + `"}`), refused: "lacks"},
		{name: "signed is null", given: []ev{offered}, event: invite(`null`), refused: "is not signed"},
		{name: "nothing is signed", given: []ev{offered}, event: state(bob, "m.room.member", dave, `{"membership":"invite","third_party_invite":null}`), refused: "is not signed"},
	})
}

// A hostile invite with more signatures than anybody wants to verify.
func TestThirdPartyInviteOfManySignatures(t *testing.T) {
	signing := key(1)
	signed := sign(t, `{"mxid":"`+dave+`","token":"t0k3n"}`, "zzz.example", signing)
	for i := range 200 {
		signed = strings.Replace(signed, `"signatures":{`, fmt.Sprintf(`"signatures":{"a%d.example":{"ed25519:1":"AAAA"},`, i), 1)
	}
	r := newRoom(t, "11")
	r.put(state(bob, "m.room.third_party_invite", "t0k3n", `{"public_key":"`+matrix.Base64(signing.Public())+`"}`))
	r.check(r.event(state(bob, "m.room.member", dave, `{"membership":"invite","third_party_invite":{"signed":`+signed+`}}`)), "No key")
}

func key(seed byte) matrix.SigningKey {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	return matrix.SigningKey{ID: "ed25519:0", Private: private}
}

func sign(t *testing.T, object string, server matrix.ServerName, key matrix.SigningKey) string {
	t.Helper()
	signed, err := matrix.SignJSON([]byte(object), server, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}
