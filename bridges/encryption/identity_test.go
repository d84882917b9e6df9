package encryption_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/id"

	"trestle/bridges/encryption"
	"trestle/internal/testkit"
)

// trusts tells whether a person's client takes our device for one that its user has signed.
func (p *person) trusts(device id.DeviceID) bool {
	p.w.t.Helper()
	ctx := p.w.t.Context()
	found, err := p.machine.FetchKeys(ctx, []id.UserID{id.UserID(bot)}, true)
	must(p.w.t, err)
	ours := found[id.UserID(bot)][device]
	if ours == nil {
		return false
	}
	trust, err := p.machine.ResolveTrustContext(ctx, ours)
	must(p.w.t, err)
	return trust >= id.TrustStateCrossSignedUntrusted
}

func (p *person) masterKey() id.Ed25519 {
	p.w.t.Helper()
	found, err := p.QueryKeys(p.w.t.Context(), &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{id.UserID(bot): {}}})
	must(p.w.t, err)
	for _, key := range found.MasterKeys[id.UserID(bot)].Keys {
		return key
	}
	return ""
}

// Who gives keys to signed devices only gives them to the bridge's (MSC4153).
func TestDevicesAreSigned(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		alice := w.person("alice")
		alice.machine.SendKeysMinTrust = id.TrustStateCrossSignedUntrusted
		w.settle()
		w.opens(w.arrives(alice.says("only for signed devices", id.UserID(bot))), "only for signed devices")
		device, master := id.DeviceID(w.service.Device(bot)), alice.masterKey()
		if !alice.trusts(device) || master == "" {
			t.Fatal("the device is not signed")
		}

		w.restart()
		must(t, w.service.Working(t.Context()))
		if !alice.trusts(device) || alice.masterKey() != master {
			t.Error("another process is somebody else")
		}

		// A device that is lost is another afterwards, and its user the same.
		api := w.client.Bot().Device(w.service.Device(bot), func(context.Context) error { return nil })
		must(t, api.DeleteDevice(t.Context(), device, &mautrix.ReqDeleteDevice{}))
		if got := alice.reads(w.says("new keys", alice)); got != "new keys" {
			t.Errorf("alice reads %q", got)
		}
		if again := id.DeviceID(w.service.Device(bot)); again == device || !alice.trusts(again) || alice.masterKey() != master {
			t.Errorf("device %s, before %s: signed %v, by %s, before %s", again, device, alice.trusts(again), alice.masterKey(), master)
		}

		// What the homeserver has lost it is told again.
		w.stop()
		other := crypto.NewOlmMachine(w.client.Bot().Device("", func(context.Context) error { return nil }), nil, crypto.NewMemoryStore(nil), nil)
		must(t, other.Load(t.Context()))
		keys, err := other.GenerateCrossSigningKeys()
		must(t, err)
		must(t, other.PublishCrossSigningKeys(t.Context(), keys, nil))
		if alice.masterKey() == master {
			t.Fatal("the keys are not replaced")
		}
		w.start(func(*encryption.Service) {})
		must(t, w.service.Working(t.Context()))
		if alice.masterKey() != master || !alice.trusts(id.DeviceID(w.service.Device(bot))) {
			t.Error("the homeserver is not told again")
		}
	})
}

// A homeserver that wants a password for the keys of a service's users has unsigned devices.
func TestUnsignedDevicesWork(t *testing.T) {
	t.Parallel()
	for status, answer := range map[int]string{
		http.StatusUnauthorized:   `{"flows":[{"stages":["m.login.password"]}],"params":{},"session":"1"}`,
		http.StatusNotImplemented: `{"errcode":"M_UNRECOGNIZED","error":"There is nothing of the kind."}`,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			unsigned(t, status, answer)
		})
	}
}

func unsigned(t *testing.T, status int, answer string) {
	var asked atomic.Bool
	w := newWorld(t, testkit.SQLite(t), func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "/keys/device_signing/upload") {
				return next.RoundTrip(r)
			}
			asked.Store(true)
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(answer)), Header: http.Header{}, Request: r}, nil
		})
	})
	alice := w.person("alice")
	w.settle()
	w.opens(w.arrives(alice.says("hello", id.UserID(bot))), "hello")
	if got := alice.reads(w.says("hello, alice", alice)); got != "hello, alice" {
		t.Errorf("alice reads %q", got)
	}
	if !asked.Load() || alice.trusts(id.DeviceID(w.service.Device(bot))) {
		t.Error("the device is signed")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
