package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/signatures"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/bridges/vault"
)

// identify sees to it that the device is signed by its user (Client-Server API § Cross-signing): clients
// warn of one that is not, and some give it no key (MSC4153). The user's keys outlive the device. A homeserver that
// asks a service for a password here (it has no MSC4190) has its way, and the device stays unsigned.
func (d *device) identify(ctx context.Context) error {
	if d.identified {
		return nil
	}
	err := d.sign(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.Is(err, errRecords), client.Is(err, "M_UNKNOWN_DEVICE"), client.Temporary(err) && !unable(err):
		return fmt.Errorf("sign it: %w", err)
	default:
		d.service.unsigned.Do(func() {
			d.service.log.Warn("the homeserver does not let the bridge sign its devices; people's clients may warn of them", "user", d.user, "err", err)
		})
	}
	d.identified = true
	return nil
}

// unable tells whether the homeserver wants User-Interactive Authentication of a service, or has nothing of the kind: what
// looks as if it would pass does not, and must not keep the device from being used.
func unable(err error) bool {
	var failure mautrix.HTTPError
	if !errors.As(err, &failure) {
		return false
	}
	wantsPassword := failure.IsStatus(http.StatusUnauthorized) && (failure.RespError == nil || failure.RespError.ErrCode == "")
	return wantsPassword || failure.IsStatus(http.StatusInternalServerError) || failure.IsStatus(http.StatusNotImplemented)
}

// sign publishes the user's keys and the device's signature, unless the homeserver has them.
func (d *device) sign(ctx context.Context) error {
	keys, err := d.identity(ctx)
	if err != nil {
		return err
	}
	user, device := id.UserID(d.user), id.DeviceID(d.id)
	there, err := d.machine.Client.QueryKeys(ctx, &mautrix.ReqQueryKeys{
		DeviceKeys: mautrix.DeviceKeysRequest{user: mautrix.DeviceIDList{device}},
	})
	if err != nil {
		return err
	}
	if !has(there.MasterKeys[user], keys.MasterKey.PublicKey()) || !has(there.SelfSigningKeys[user], keys.SelfSigningKey.PublicKey()) {
		if err := d.machine.PublishCrossSigningKeys(ctx, keys, nil); err != nil {
			return err
		}
	}
	published := there.DeviceKeys[user][device]
	signer := keys.SelfSigningKey.PublicKey()
	if published.Signatures[user][id.NewKeyID(id.KeyAlgorithmEd25519, signer.String())] != "" {
		return nil
	}
	account := d.machine.GetAccount()
	if id.Ed25519(account.SigningKey()) != published.Keys.GetEd25519(device) || id.Curve25519(account.IdentityKey()) != published.Keys.GetCurve25519(device) {
		return errors.New("the homeserver has other keys of the device")
	}
	return d.signPublished(ctx, keys, published)
}

// has tells whether a published key is the one.
func has(published mautrix.CrossSigningKeys, key id.Ed25519) bool {
	return published.Keys[id.NewKeyID(id.KeyAlgorithmEd25519, key.String())] == key
}

// signPublished signs what the homeserver tells people of the device.
func (d *device) signPublished(ctx context.Context, keys *crypto.CrossSigningKeysCache, published mautrix.DeviceKeys) error {
	signed := mautrix.ReqKeysSignatures{
		UserID: published.UserID, DeviceID: published.DeviceID, Algorithms: published.Algorithms, Keys: map[id.KeyID]string{},
	}
	for name, key := range published.Keys {
		signed.Keys[id.KeyID(name)] = key
	}
	signature, err := keys.SelfSigningKey.SignJSON(signed)
	if err != nil {
		return err
	}
	signed.Signatures = signatures.NewSingleSignature(published.UserID, id.KeyAlgorithmEd25519, keys.SelfSigningKey.PublicKey().String(), signature)
	res, err := d.machine.Client.UploadSignatures(ctx, &mautrix.ReqUploadSignatures{
		published.UserID: {published.DeviceID.String(): signed},
	})
	if err == nil && len(res.Failures) > 0 {
		err = fmt.Errorf("the homeserver does not take a signature: %v", res.Failures)
	}
	return err
}

type identityRecord struct {
	Sealed []byte `json:"sealed"`
}

// identity is the user's own keys; the first time, they are made. They are durable before
// anybody hears of them.
func (d *device) identity(ctx context.Context) (*crypto.CrossSigningKeysCache, error) {
	name := d.store.own(kindIdentity, "", "")
	var stored identityRecord
	found, err := d.store.get(ctx, name, &stored)
	if err != nil {
		return nil, err
	}
	if !found {
		keys, err := d.machine.GenerateCrossSigningKeys()
		if err != nil {
			return nil, err
		}
		d.machine.CrossSigningKeys = keys
		seeds, err := json.Marshal(d.machine.ExportCrossSigningKeys())
		if err != nil {
			return nil, err
		}
		if stored.Sealed, err = vault.Of(d.service.key).Seal(seeds, d.sealedAs()); err != nil {
			return nil, err
		}
		return keys, d.store.put(ctx, name, stored)
	}
	plain, err := vault.Of(d.service.key).Open(stored.Sealed, d.sealedAs())
	if err != nil {
		return nil, fmt.Errorf("open its user's keys: %w", err)
	}
	var seeds crypto.CrossSigningSeeds
	if err := json.Unmarshal(plain, &seeds); err != nil {
		return nil, err
	}
	if err := d.machine.ImportCrossSigningKeys(seeds); err != nil {
		return nil, err
	}
	return d.machine.CrossSigningKeys, nil
}

// sealedAs is the place that its user's keys are sealed for.
func (d *device) sealedAs() string { return "identity of " + string(d.user) }
