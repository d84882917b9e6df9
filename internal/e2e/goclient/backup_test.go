package goclient_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto/backup"
	"maunium.net/go/mautrix/crypto/signatures"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// TestKeyBackup has alice lose her only device. A new one restores from the
// server what the old one has left there, with the recovery key alone.
func TestKeyBackup(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		server := start(t, database)
		ctx := t.Context()
		lost, bob := register(t, server, "alice"), register(t, server, "bob")
		recovery := lost.crossSign()
		room := private(t, lost, bob)
		mine, his := lost.says(room, "remember this"), bob.says(room, "and this")
		lost.reads(room, mine, "remember this")
		lost.reads(room, his, "and this")
		version := lost.backUp(recovery, room)
		lost.logout()

		found := login(t, server, "alice")
		found.cannotRead(room, mine)
		found.must(found.machine.VerifyWithRecoveryKey(ctx, recovery))
		found.sees(found, true)
		bob.sees(found, false)
		restored, err := found.machine.DownloadAndStoreLatestKeyBackup(ctx, found.backupKey(recovery))
		found.must(err)
		if restored != version {
			t.Errorf("the backup restored is %s, not %s", restored, version)
		}
		found.reads(room, mine, "remember this")
		found.reads(room, his, "and this")
	})
}

// backUp leaves the room's keys with the server, and the key to them in the
// secret storage.
func (d *device) backUp(recovery string, room id.RoomID) id.KeyBackupVersion {
	d.t.Helper()
	ctx := d.t.Context()
	key, err := backup.NewMegolmBackupKey()
	d.must(err)
	auth := backup.MegolmAuthData{PublicKey: id.Ed25519(base64.RawStdEncoding.EncodeToString(key.PublicKey().Bytes()))}
	signature, err := d.machine.GetAccount().SignJSON(map[string]any{"public_key": auth.PublicKey})
	d.must(err)
	auth.Signatures = signatures.NewSingleSignature(d.UserID, id.KeyAlgorithmEd25519, d.DeviceID.String(), signature)
	made, err := d.CreateKeyBackupVersion(ctx, &mautrix.ReqRoomKeysVersionCreate[backup.MegolmAuthData]{
		Algorithm: id.KeyBackupAlgorithmMegolmBackupV1, AuthData: auth,
	})
	d.must(err)

	sessions, err := d.machine.CryptoStore.GetGroupSessionsForRoom(ctx, room).AsList()
	d.must(err)
	keys := mautrix.ReqRoomKeyBackup{Sessions: map[id.SessionID]mautrix.ReqKeyBackupData{}}
	for _, session := range sessions {
		exported, err := session.Internal.Export(session.Internal.FirstKnownIndex())
		d.must(err)
		secret, err := backup.EncryptSessionData(key, backup.MegolmSessionData{
			Algorithm:          id.AlgorithmMegolmV1,
			ForwardingKeyChain: []string{},
			SenderClaimedKeys:  backup.SenderClaimedKeys{Ed25519: session.SigningKey},
			SenderKey:          session.SenderKey,
			SessionKey:         string(exported),
		})
		d.must(err)
		data, err := json.Marshal(secret)
		d.must(err)
		keys.Sessions[session.ID()] = mautrix.ReqKeyBackupData{IsVerified: true, SessionData: data}
	}
	uploaded, err := d.PutKeysInBackup(ctx, made.Version, &mautrix.ReqKeyBackup{Rooms: map[id.RoomID]mautrix.ReqRoomKeyBackup{room: keys}})
	d.must(err)
	if len(sessions) != 2 || uploaded.Count != len(sessions) {
		d.t.Fatalf("%d of %d sessions are in the backup", uploaded.Count, len(sessions))
	}

	storageID, storage, err := d.machine.SSSS.GetDefaultKeyData(ctx)
	d.must(err)
	storageKey, err := storage.VerifyRecoveryKey(storageID, recovery)
	d.must(err)
	d.must(d.machine.SSSS.SetEncryptedAccountData(ctx, event.AccountDataMegolmBackupKey, key.Bytes(), storageKey))
	return made.Version
}

// backupKey is what the secret storage has.
func (d *device) backupKey(recovery string) *backup.MegolmBackupKey {
	d.t.Helper()
	ctx := d.t.Context()
	storageID, storage, err := d.machine.SSSS.GetDefaultKeyData(ctx)
	d.must(err)
	storageKey, err := storage.VerifyRecoveryKey(storageID, recovery)
	d.must(err)
	secret, err := d.machine.SSSS.GetDecryptedAccountData(ctx, event.AccountDataMegolmBackupKey, storageKey)
	d.must(err)
	key, err := backup.MegolmBackupKeyFromBytes(secret)
	d.must(err)
	return key
}
