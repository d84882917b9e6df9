package appservice_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"trestle/appservice"
	"trestle/internal/matrix"
)

func raws(list ...string) (r []json.RawMessage) {
	for _, s := range list {
		r = append(r, json.RawMessage(s))
	}
	return r
}

func TestTransactionBytes(t *testing.T) {
	txn := &appservice.Transaction{
		Events: raws(`{"type":"a"}`, `{"type":"b"}`), Ephemeral: raws(`{"type":"m.typing"}`), ToDevice: raws(`{"type":"d"}`),
		DeviceLists:      &appservice.DeviceLists{Changed: []matrix.UserID{"@a:b"}, Left: []matrix.UserID{}},
		OneTimeKeyCounts: map[matrix.UserID]map[matrix.DeviceID]map[string]int{"@a:b": {"D": {"signed_curve25519": 50}}},
		FallbackKeyTypes: map[matrix.UserID]map[matrix.DeviceID][]string{"@a:b": {"D": {"signed_curve25519"}}},
	}
	const rest = `,"de.sorunome.msc2409.to_device":[{"type":"d"}]` +
		`,"org.matrix.msc3202.device_lists":{"changed":["@a:b"],"left":[]}` +
		`,"org.matrix.msc3202.device_one_time_keys_count":{"@a:b":{"D":{"signed_curve25519":50}}}` +
		`,"org.matrix.msc3202.device_unused_fallback_key_types":{"@a:b":{"D":["signed_curve25519"]}}}`
	for names, ephemeral := range map[appservice.Spelling]string{
		{Stable: true}:                 `,"ephemeral":[{"type":"m.typing"}]`,
		{Unstable: true}:               `,"de.sorunome.msc2409.ephemeral":[{"type":"m.typing"}]`,
		{Stable: true, Unstable: true}: `,"ephemeral":[{"type":"m.typing"}],"de.sorunome.msc2409.ephemeral":[{"type":"m.typing"}]`,
	} {
		got, err := txn.Append(nil, names)
		want := `{"events":[{"type":"a"},{"type":"b"}]` + ephemeral + rest
		if err != nil || string(got) != want {
			t.Errorf("%+v: %v\n%s\nwant\n%s", names, err, got, want)
		}
		back, err := appservice.ParseTransaction(got)
		if err != nil || !reflect.DeepEqual(back, txn) {
			t.Errorf("%+v came back as %+v, %v", names, back, err)
		}
	}
	if got, _ := new(appservice.Transaction).Append(nil, appservice.Spelling{}); string(got) != `{"events":[]}` {
		t.Errorf("the empty transaction is %s", got)
	}
}

func TestParseTransactionRefuses(t *testing.T) {
	for _, body := range []string{``, `{}`, `[]`, `{"events":{}}`, `{"events":[]`, `{"events":null}`} {
		if _, err := appservice.ParseTransaction([]byte(body)); matrix.Code(err) != "M_BAD_JSON" {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestPathsKeepSlashesInsideOfNames(t *testing.T) {
	for _, test := range []struct {
		got            appservice.Path
		stable, legacy string
	}{
		{appservice.AliasPath("#irc/#go+x:hs"), "/_matrix/app/v1/rooms/%23irc%2F%23go+x:hs", "/rooms/%23irc%2F%23go+x:hs"},
		{appservice.UserPath("@a%b:hs"), "/_matrix/app/v1/users/@a%25b:hs", "/users/@a%25b:hs"},
		{appservice.TransactionPath("x-1"), "/_matrix/app/v1/transactions/x-1", "/transactions/x-1"},
		{appservice.PingPath(), "/_matrix/app/v1/ping", ""},
		{appservice.ProtocolPath("irc"), "/_matrix/app/v1/thirdparty/protocol/irc", "/_matrix/app/unstable/thirdparty/protocol/irc"},
		{appservice.ThirdPartyUsersPath(""), "/_matrix/app/v1/thirdparty/user", "/_matrix/app/unstable/thirdparty/user"},
		{appservice.ThirdPartyLocationsPath("a/b"), "/_matrix/app/v1/thirdparty/location/a%2Fb", "/_matrix/app/unstable/thirdparty/location/a%2Fb"},
	} {
		if test.got.Stable != test.stable || test.got.Legacy != test.legacy {
			t.Errorf("%+v, want %s and %s", test.got, test.stable, test.legacy)
		}
	}
}

func FuzzParseTransaction(f *testing.F) {
	f.Add([]byte(`{"events":[{}],"ephemeral":[1],"org.matrix.msc3202.device_lists":{"changed":["@a:b"]}}`))
	f.Add([]byte(`{"events":[],"de.sorunome.msc2409.ephemeral":[{}],"device_one_time_keys_count":{"@a:b":{"D":{"k":1}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		txn, err := appservice.ParseTransaction(data)
		if err != nil {
			return
		}
		names := appservice.Spelling{Stable: true, Unstable: true}
		first, err := txn.Append(nil, names)
		if err != nil || !json.Valid(first) {
			t.Fatalf("written as %s, %v", first, err)
		}
		again, err := appservice.ParseTransaction(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.Append(nil, names); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("changed on its way:\n%s\n%s\n%v", first, second, err)
		}
	})
}
