package clientapi_test

import (
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/testkit"
	"trestle/registration"
)

// The token from before a rotation is good until its time is over, to the second.
func TestFormerTokensOfServicesExpire(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url, func(o *accounts.Options) {
			reg := registration.Generate("tea", "", "tea_bot")
			reg.ASToken, reg.Previous = "now", registration.Previous{ASToken: "before", Until: o.Now().Add(time.Hour)}
			set, err := registration.NewSet(o.ServerName, reg)
			if err != nil {
				t.Fatal(err)
			}
			o.AppServices = registration.NewRegistry(set)
		})
		const whoami, register = v3 + "/account/whoami", `{"type": "m.login.application_service", "username": "tea_bot", "inhibit_login": true}`
		s.must("GET", whoami, "before", "")
		s.must("GET", whoami, "now", "")
		s.wait(time.Hour - time.Second)
		s.must("GET", whoami, "before", "")
		s.refused("POST", v3+"/register", "before", register, 400, "M_USER_IN_USE")
		s.wait(time.Second)
		s.refused("GET", whoami, "before", "", 401, "M_UNKNOWN_TOKEN")
		s.refused("POST", v3+"/register", "before", register, 401, "M_UNKNOWN_TOKEN")
		s.must("GET", whoami, "now", "")
	})
}
