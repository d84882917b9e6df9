package goclient_test

import (
	"context"
	"slices"
	"testing"

	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// checks are how far the device is with the verification that runs.
type checks struct {
	requested, ready id.VerificationTransactionID
	emojis           []rune
	code, done       bool
	cancelled        string
}

// VerificationRequested implements verificationhelper.RequiredCallbacks.
func (d *device) VerificationRequested(_ context.Context, check id.VerificationTransactionID, _ id.UserID, _ id.DeviceID) {
	d.checks = checks{requested: check}
}

// VerificationReady implements verificationhelper.RequiredCallbacks.
func (d *device) VerificationReady(_ context.Context, check id.VerificationTransactionID, _ id.DeviceID, _, _ bool, _ *verificationhelper.QRCode) {
	d.checks.ready = check
}

// VerificationCancelled implements verificationhelper.RequiredCallbacks.
func (d *device) VerificationCancelled(_ context.Context, _ id.VerificationTransactionID, code event.VerificationCancelCode, reason string) {
	d.checks.cancelled = string(code) + ": " + reason
}

// VerificationDone implements verificationhelper.RequiredCallbacks.
func (d *device) VerificationDone(context.Context, id.VerificationTransactionID, event.VerificationMethod) {
	d.checks.done = true
}

// ShowSAS implements verificationhelper.ShowSASCallbacks.
func (d *device) ShowSAS(_ context.Context, _ id.VerificationTransactionID, emojis []rune, _ []string, _ []int) {
	d.checks.emojis = emojis
}

// reaches waits until the verification is as far as the condition says.
func (d *device) reaches(what string, condition func(c checks) bool) {
	d.t.Helper()
	d.until(what, func() bool {
		if d.checks.cancelled != "" {
			d.t.Fatalf("the verification is cancelled: %s", d.checks.cancelled)
		}
		return condition(d.checks)
	})
}

// compare has a person look at emojis on two devices; they have to be the same.
func compare(t *testing.T, one, other *device) {
	t.Helper()
	ctx := t.Context()
	one.checks, other.checks = checks{}, checks{}
	check, err := one.verify.StartVerification(ctx, other.UserID)
	one.must(err)
	other.reaches("the request", func(c checks) bool { return c.requested == check })
	other.must(other.verify.AcceptVerification(ctx, check))
	one.reaches("that it was accepted", func(c checks) bool { return c.ready == check })
	one.must(one.verify.StartSAS(ctx, check))
	for _, d := range []*device{one, other} {
		d.reaches("the emojis", func(c checks) bool { return len(c.emojis) > 0 })
	}
	if len(one.checks.emojis) != 7 || !slices.Equal(one.checks.emojis, other.checks.emojis) {
		t.Fatalf("the emojis are %q and %q", string(one.checks.emojis), string(other.checks.emojis))
	}
	// The library minds if a person confirms while the other's code comes in.
	one.must(one.verify.ConfirmSAS(ctx, check))
	other.reaches("the code", func(c checks) bool { return c.code })
	other.must(other.verify.ConfirmSAS(ctx, check))
	for _, d := range []*device{one, other} {
		d.reaches("the end", func(c checks) bool { return c.done })
	}
}

// sees waits until a device knows that another is signed by its owner, and
// says whether it trusts that owner's keys because a person has looked at them.
func (d *device) sees(other *device, verified bool) {
	d.t.Helper()
	ctx := d.t.Context()
	d.until("a signature of "+string(other.DeviceID), func() bool {
		keys, err := d.machine.CryptoStore.GetCrossSigningKeys(ctx, other.UserID)
		d.must(err)
		owners := keys[id.XSUsageSelfSigning].Key
		signed, err := d.machine.CryptoStore.IsKeySignedBy(ctx, other.UserID, other.machine.OwnIdentity().SigningKey, other.UserID, owners)
		d.must(err)
		return signed
	})
	if trusted, err := d.machine.IsUserTrusted(ctx, other.UserID); err != nil || trusted != verified {
		d.t.Errorf("that %s trusts %s is %t, not %t: %v", d.UserID, other.UserID, trusted, verified, err)
	}
}

// TestVerification has alice verify her second device, and sign bob's key as he
// signs hers: each sees what the others have signed.
func TestVerification(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		server := start(t, database)
		ctx := t.Context()
		phone, bob := register(t, server, "alice"), register(t, server, "bob")
		bob.crossSign()
		phone.crossSign()
		room := private(t, phone, bob)
		// The library watches the devices of those whom it has written to.
		phone.says(room, "knock, knock")
		bob.says(room, "who is there?")

		laptop := login(t, server, "alice")
		phone.knows(laptop)
		if hasKeys, verified, err := laptop.machine.GetOwnVerificationStatus(ctx); err != nil || !hasKeys || verified {
			t.Fatalf("before it is verified, the laptop has %t, %t, %v", hasKeys, verified, err)
		}
		compare(t, phone, laptop)
		phone.sees(laptop, true)
		bob.sees(laptop, false)

		for _, pair := range [][2]*device{{phone, bob}, {bob, phone}} {
			keys, err := pair[0].machine.GetCrossSigningPublicKeys(ctx, pair[1].UserID)
			pair[0].must(err)
			pair[0].must(pair[0].machine.SignUser(ctx, pair[1].UserID, keys.MasterKey))
		}
		phone.sees(bob, true)
		bob.sees(laptop, true)
		told := bob.says(room, "it is you")
		laptop.reads(room, told, "it is you")
	})
}
