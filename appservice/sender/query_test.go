package sender_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/registration"
)

func is(answer bool) sender.Exists {
	return func(context.Context) (bool, error) { return answer, nil }
}

func answering(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestQueriesBelieveTheDirectory(t *testing.T) {
	as, reg := fake(t, "irc")
	reg.Namespaces.Aliases = []registration.Namespace{namespace(t, "#irc_.*", true)}
	var asked atomic.Value
	status := http.StatusOK
	as.Query = func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.URL.EscapedPath())
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"errcode":"M_NOT_FOUND"}`)) // with 200, too, as some do
	}
	s := start(t, newWorld(), sender.Options{Registry: registry(t, reg)})
	alias := func(name string, exists sender.Exists) (bool, error) {
		return s.QueryAlias(t.Context(), matrix.RoomAlias(name), "", exists)
	}
	if found, err := alias("#irc_#a/b:"+server, is(true)); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if got := asked.Load(); got != "GET /_matrix/app/v1/rooms/%23irc_%23a%2Fb:"+server {
		t.Errorf("asked was %s", got)
	}
	if found, err := alias("#irc_nothing:"+server, is(false)); found || err != nil {
		t.Errorf("the service's word was enough: %v, %v", found, err)
	}
	if found, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true)); !found || err != nil {
		t.Errorf("user: %v, %v", found, err)
	}
	asked.Store("")
	for _, name := range []string{"#other:" + server, "#irc_x:elsewhere.example"} {
		if found, err := alias(name, is(true)); found || err != nil || asked.Load() != "" {
			t.Errorf("%s: %v, %v, asked %s", name, found, err, asked.Load())
		}
	}
	if found, _ := s.QueryUser(t.Context(), "@irc_x:"+server, "irc", is(true)); found || asked.Load() != "" {
		t.Error("a service was asked on its own behalf, for which it may be waiting")
	}
	status = http.StatusNotFound
	if found, err := alias("#irc_y:"+server, is(true)); found || err != nil {
		t.Errorf("not found is %v, %v", found, err)
	}
	asked.Store("")
	if found, err := alias("#irc_y:"+server, is(true)); found || err != nil || asked.Load() != "" {
		t.Error("the same was asked again at once")
	}
}

func TestQueriesCollapseIntoOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusOK, took: 2 * time.Second}
		_, s, _ := startStub(t, as)
		leaves, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.QueryUser(leaves, "@irc_x:"+server, "", is(true)); err != context.DeadlineExceeded {
				t.Errorf("who left got %v", err)
			}
		})
		for range 20 {
			all.Go(func() {
				if found, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true)); !found || err != nil {
					t.Errorf("%v, %v", found, err)
				}
			})
		}
		all.Wait()
		if as.requests != 1 {
			t.Errorf("the service was asked %d times", as.requests)
		}
	})
}

// Services that cannot be asked cost time, but not for ever, and say so.
func TestQueryErrors(t *testing.T) {
	for name, test := range map[string]struct {
		as     *stub
		status int
		code   string
		took   time.Duration
	}{
		"refused": {&stub{}, http.StatusBadGateway, "M_CONNECTION_FAILED", 5 * time.Second},
		"failing": {&stub{status: 500}, http.StatusBadGateway, "M_BAD_STATUS", 5 * time.Second},
		"hanging": {&stub{status: 200, took: time.Hour}, http.StatusRequestTimeout, "M_CONNECTION_TIMEOUT", 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, s, _ := startStub(t, test.as)
			begin := time.Now()
			found, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true))
			e, _ := err.(*matrix.Error)
			if found || e == nil || e.Status != test.status || e.Code != test.code || time.Since(begin) > test.took {
				t.Errorf("%s: %v, %v after %v", name, found, err, time.Since(begin))
			}
		})
	}
}

// Why a service cannot say is what the person who asked wants to know, also
// where the time is over before it has said so as often as it is asked.
func TestServicesSayWhyTheyCannotSay(t *testing.T) {
	const why = `{"errcode":"M_CONNECTION_FAILED","error":"The network is away."}`
	for body, want := range map[string]string{
		why:                    "The network is away.",
		"<h1>Bad Gateway</h1>": "answered with status 502",
		`{"errcode":"M_X","error":"` + strings.Repeat("x", 2000) + `"}`: "answered with status 502",
	} {
		synctest.Test(t, func(t *testing.T) {
			_, s, _ := startStub(t, &stub{status: 502, body: body, took: 12 * time.Second})
			_, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true))
			e, _ := err.(*matrix.Error)
			if e == nil || e.Status != http.StatusBadGateway || e.Code != "M_BAD_STATUS" || !strings.Contains(e.Message, want) {
				t.Errorf("%.40s: %v", body, err)
			}
		})
	}
}

// A service that watches everybody and is dead holds up nobody's names.
func TestBystandersDoNotHoldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, irc := &stub{status: 200, took: time.Hour}, &stub{status: 404}
		watch := service(t, "watch", "http://watch")
		watch.Namespaces.Users = []registration.Namespace{namespace(t, ".*", false)}
		w := newWorld()
		s := start(t, w, sender.Options{
			Registry: registry(t, watch, service(t, "irc", "http://irc")),
			Transport: func(r *registration.Registration) http.RoundTripper {
				if r.ID == "watch" {
					return hanging
				}
				return irc
			},
		})
		begin := time.Now()
		_, err := s.QueryUser(t.Context(), "@irc_x:"+server, "", is(true))
		if took := time.Since(begin); took > 5*time.Second || matrix.Code(err) != "M_CONNECTION_TIMEOUT" {
			t.Errorf("%v after %v", err, took)
		}
		w.say(room, "@alice:"+server)
		time.Sleep(2 * time.Minute) // it is known to be failing now
		begin = time.Now()
		if _, err := s.QueryUser(t.Context(), "@irc_y:"+server, "", is(true)); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// However many watch everybody and hang, one is waited for, and once.
func TestManyBystandersDoNotHoldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := &stub{status: 200, took: time.Hour}
		var regs []*registration.Registration
		for i := range 20 {
			r := service(t, fmt.Sprint("watch", i), "http://watch")
			r.Namespaces.Users = []registration.Namespace{namespace(t, ".*", false)}
			regs = append(regs, r)
		}
		s := start(t, newWorld(), sender.Options{
			Registry: registry(t, regs...), Transport: func(*registration.Registration) http.RoundTripper { return hanging },
		})
		query := func(user string) (took time.Duration, err error) {
			begin := time.Now()
			_, err = s.QueryUser(t.Context(), matrix.UserID("@"+user+":"+server), "", is(false))
			return time.Since(begin), err
		}
		if took, err := query("x"); took > 5*time.Second || matrix.Code(err) != "M_CONNECTION_TIMEOUT" {
			t.Errorf("%v after %v", err, took)
		}
		if took, err := query("y"); took > time.Second || err != nil {
			t.Errorf("asked again at once: %v after %v", err, took)
		}
		s.Retry("watch3")
		if took, err := query("z"); took < time.Second || err == nil {
			t.Errorf("one that is there was not asked: %v after %v", err, took)
		}
	})
}

func TestPing(t *testing.T) {
	as, reg := fake(t, "irc")
	var sent atomic.Value
	status, body := http.StatusOK, "{}"
	as.Query = func(w http.ResponseWriter, r *http.Request) {
		var ping map[string]string
		_ = json.NewDecoder(r.Body).Decode(&ping)
		sent.Store(r.Method + " " + r.URL.Path + " " + ping["transaction_id"])
		answering(status, body)(w, r)
	}
	silent := registration.Generate("silent", "", "silentbot")
	gone := httptest.NewServer(nil)
	gone.Close()
	s := start(t, newWorld(), sender.Options{Registry: registry(t, reg, silent, service(t, "gone", gone.URL))})
	took, err := s.Ping(t.Context(), "irc", "meow")
	if err != nil || took <= 0 || sent.Load() != "POST /_matrix/app/v1/ping meow" {
		t.Errorf("%v, %v, sent %v", took, err, sent.Load())
	}
	status, body = http.StatusForbidden, "{\"errcode\":\"M_FORBIDDEN\"}\xff"
	_, err = s.Ping(t.Context(), "irc", "")
	e, _ := err.(*matrix.Error)
	if e == nil || e.Status != http.StatusBadGateway || e.Code != "M_BAD_STATUS" || e.Extra["status"] != 403 ||
		!strings.HasPrefix(fmt.Sprint(e.Extra["body"]), body[:len(body)-1]) {
		t.Errorf("a bad status is %+v", err)
	}
	for id, want := range map[string]string{"silent": "M_URL_NOT_SET", "gone": "M_CONNECTION_FAILED", "none": "M_NOT_FOUND"} {
		_, err := s.Ping(t.Context(), id, "")
		if matrix.Code(err) != want || strings.Contains(err.Error(), reg.HSToken) {
			t.Errorf("%s: %v", id, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		_, s, _ := startStub(t, &stub{took: time.Hour})
		_, err := s.Ping(t.Context(), "irc", "")
		if e, _ := err.(*matrix.Error); e == nil || e.Code != "M_CONNECTION_TIMEOUT" || e.Status != http.StatusGatewayTimeout {
			t.Errorf("a timeout is %v", err)
		}
	})
}

func TestThirdParty(t *testing.T) {
	irc, ircReg := fake(t, "irc")
	other, otherReg := fake(t, "other")
	ircReg.Protocols, otherReg.Protocols = []string{"irc"}, []string{"irc", "mail"}
	ircReg.Namespaces.Aliases = []registration.Namespace{namespace(t, "#irc_.*", true)}
	var query atomic.Value
	irc.Query = func(w http.ResponseWriter, r *http.Request) {
		query.Store(r.URL.RawQuery)
		switch r.URL.Path {
		case "/_matrix/app/v1/thirdparty/protocol/irc":
			answering(200, `{"user_fields":["nick"],"location_fields":["channel"],"icon":"mxc://a/b","field_types":{"nick":{"regexp":"x","placeholder":"y"}},
				"instances":[{"network_id":"libera","desc":"Libera","fields":{"network":"libera"}}]}`)(w, r)
		case "/_matrix/app/v1/thirdparty/user/irc", "/_matrix/app/v1/thirdparty/user":
			answering(200, `[{"userid":"@irc_x:hs","protocol":"irc","fields":{"nick":"x"}},{"userid":"@no:fields","protocol":"irc"}]`)(w, r)
		case "/_matrix/app/v1/thirdparty/location/irc", "/_matrix/app/v1/thirdparty/location":
			answering(200, `[{"alias":"#irc_x:hs","protocol":"irc","fields":{"channel":"#x"}},{"alias":"","protocol":"irc","fields":{}}]`)(w, r)
		}
	}
	other.Query = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/protocol/irc"):
			answering(200, `{"instances":[{"network_id":"oftc","desc":"OFTC","fields":{}}]}`)(w, r)
		case strings.HasSuffix(r.URL.Path, "/protocol/mail"):
			answering(500, "")(w, r)
		default:
			answering(200, "no JSON")(w, r)
		}
	}
	s := start(t, newWorld(), sender.Options{Registry: registry(t, ircReg, otherReg)})
	protocols := s.Protocols(t.Context())
	p := protocols["irc"]
	if len(protocols) != 1 || p == nil || !slices.Equal(p.UserFields, []string{"nick"}) || len(p.Instances) != 2 ||
		p.Instances[0].InstanceID != "irc|libera" || p.Instances[1].InstanceID != "other|oftc" {
		t.Errorf("protocols %+v", p)
	}
	if s.Protocol(t.Context(), "none") != nil || s.Protocol(t.Context(), "mail") != nil {
		t.Error("a protocol without an answer is there")
	}
	wantUsers := []appservice.User{{UserID: "@irc_x:hs", Protocol: "irc", Fields: json.RawMessage(`{"nick":"x"}`)}}
	wantLocations := []appservice.Location{{Alias: "#irc_x:hs", Protocol: "irc", Fields: json.RawMessage(`{"channel":"#x"}`)}}
	fields := url.Values{"nick": {"x y"}, "access_token": {"a client's"}}
	if got := s.ThirdPartyUsers(t.Context(), "irc", fields); !reflect.DeepEqual(got, wantUsers) {
		t.Errorf("users %+v", got)
	}
	if query.Load() != "nick=x+y" {
		t.Errorf("the query was %v", query.Load())
	}
	if got := s.ThirdPartyLocations(t.Context(), "irc", nil); !reflect.DeepEqual(got, wantLocations) {
		t.Errorf("locations %+v", got)
	}
	if got := s.UsersOf(t.Context(), "@irc_x:"+server); !reflect.DeepEqual(got, wantUsers) {
		t.Errorf("users of an ID %+v", got)
	}
	if got := s.LocationsOf(t.Context(), "#irc_x:"+server); !reflect.DeepEqual(got, wantLocations) {
		t.Errorf("locations of an alias %+v", got)
	}
	if len(s.LocationsOf(t.Context(), "#x:"+server))+len(s.UsersOf(t.Context(), "@alice:"+server)) > 0 {
		t.Error("somebody was asked about what is not theirs")
	}
}

// A service that others keep busy is not taken for one that keeps silent about keys.
func TestABusyServiceIsAskedForKeysAgain(t *testing.T) {
	as, reg := fake(t, "irc")
	reg.Protocols = []string{"irc"}
	var claims atomic.Int64
	busy, free := make(chan struct{}, 100), make(chan struct{})
	as.Query = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			claims.Add(1)
		} else {
			busy <- struct{}{}
			<-free
		}
		_, _ = w.Write([]byte(`{}`))
	}
	s := start(t, newWorld(), sender.Options{Registry: registry(t, reg), KeysTimeout: 2 * time.Second, ThirdPartyTimeout: 2 * time.Minute})
	var others sync.WaitGroup
	for range 32 { // as many as are asked at once
		others.Go(func() { s.Protocol(t.Context(), "irc") })
	}
	for range 32 {
		<-busy
	}
	claim := map[matrix.UserID]map[matrix.DeviceID][]string{"@irc_x:" + server: {"D": {"a"}}}
	if answers := s.ClaimKeys(t.Context(), claim); len(answers) > 0 || claims.Load() > 0 {
		t.Errorf("a service that is busy has answered %d times", claims.Load())
	}
	close(free)
	others.Wait()
	if answers := s.ClaimKeys(t.Context(), claim); len(answers) != 1 || claims.Load() != 1 {
		t.Errorf("it was asked %d times, and answered %v", claims.Load(), answers)
	}
}
