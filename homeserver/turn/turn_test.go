package turn_test

import (
	"reflect"
	"testing"
	"time"

	"trestle/homeserver/turn"
	"trestle/internal/matrix"
)

func TestCredentials(t *testing.T) {
	now := func() time.Time { return time.Unix(1_700_000_000, 0) }
	uris := []string{"turn:turn.example:3478?transport=udp"}
	for name, tt := range map[string]struct {
		options turn.Options
		guest   bool
		want    *turn.Credentials
		code    string
	}{
		"no server": {options: turn.Options{Secret: "s"}, code: "M_NOT_FOUND"},
		"a shared secret": {
			options: turn.Options{URIs: uris, Secret: "north", Username: "not used", Lifetime: time.Hour, Now: now},
			// printf '1700003600:@alice:hs.example' | openssl dgst -sha1 -hmac north -binary | base64
			want: &turn.Credentials{Username: "1700003600:@alice:hs.example", Password: "z7sv35YZ/tITzjnDVkdYT+MqPhk=", URIs: uris, Lifetime: time.Hour},
		},
		"one name for all": {
			options: turn.Options{URIs: uris, Username: "all", Password: "secret", Lifetime: time.Minute},
			want:    &turn.Credentials{Username: "all", Password: "secret", URIs: uris, Lifetime: time.Minute},
		},
		"a guest who may not": {options: turn.Options{URIs: uris, Username: "all", Password: "secret"}, guest: true, code: "M_GUEST_ACCESS_FORBIDDEN"},
		"a guest who may": {
			options: turn.Options{URIs: uris, Username: "all", Password: "secret", Guests: true}, guest: true,
			want: &turn.Credentials{Username: "all", Password: "secret", URIs: uris},
		},
	} {
		got, err := turn.New(tt.options).Credentials("@alice:hs.example", tt.guest)
		if matrix.Code(err) != tt.code || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
