package encryption

import (
	"context"
	"time"

	"go.mau.fi/util/dbutil"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/id"
)

// untracked is the part of the library's store that is about what a bridge does not do: it
// verifies nobody, so the signatures of others are of no use to it; it keeps no list of whose devices it
// follows, since the homeserver says who has changed; it exports and shares no keys.
type untracked struct{}

func (untracked) RedactGroupSession(context.Context, id.RoomID, id.SessionID, string) error {
	return nil
}

func (untracked) RedactGroupSessions(context.Context, id.RoomID, id.SenderKey, string) ([]id.SessionID, error) {
	return nil, nil
}

func (untracked) RedactExpiredGroupSessions(context.Context) ([]id.SessionID, error) { return nil, nil }

func (untracked) RedactOutdatedGroupSessions(context.Context) ([]id.SessionID, error) {
	return nil, nil
}

func (untracked) GetGroupSessionsForRoom(context.Context, id.RoomID) dbutil.RowIter[*crypto.InboundGroupSession] {
	return dbutil.NewSliceIter[*crypto.InboundGroupSession](nil)
}

func (untracked) GetAllGroupSessions(context.Context) dbutil.RowIter[*crypto.InboundGroupSession] {
	return dbutil.NewSliceIter[*crypto.InboundGroupSession](nil)
}

func (untracked) GetGroupSessionsWithoutKeyBackupVersion(context.Context, id.KeyBackupVersion) dbutil.RowIter[*crypto.InboundGroupSession] {
	return dbutil.NewSliceIter[*crypto.InboundGroupSession](nil)
}

func (untracked) DeleteOldOlmHashes(context.Context, time.Time) error { return nil }

func (untracked) MarkOutboundGroupSessionShared(context.Context, id.UserID, id.IdentityKey, id.SessionID) error {
	return nil
}

func (untracked) IsOutboundGroupSessionShared(context.Context, id.UserID, id.IdentityKey, id.SessionID) (bool, error) {
	return false, nil
}

func (untracked) PutDevice(context.Context, id.UserID, *id.Device) error { return nil }

func (untracked) FilterTrackedUsers(context.Context, []id.UserID) ([]id.UserID, error) {
	return nil, nil
}

func (untracked) MarkTrackedUsersOutdated(context.Context, []id.UserID) error { return nil }

func (untracked) GetOutdatedTrackedUsers(context.Context) ([]id.UserID, error) { return nil, nil }

func (untracked) PutCrossSigningKey(context.Context, id.UserID, id.CrossSigningUsage, id.Ed25519) error {
	return nil
}

func (untracked) GetCrossSigningKeys(context.Context, id.UserID) (map[id.CrossSigningUsage]id.CrossSigningKey, error) {
	return nil, nil
}

func (untracked) PutSignature(context.Context, id.UserID, id.Ed25519, id.UserID, id.Ed25519, string) error {
	return nil
}

func (untracked) IsKeySignedBy(context.Context, id.UserID, id.Ed25519, id.UserID, id.Ed25519) (bool, error) {
	return false, nil
}

func (untracked) DropSignaturesByKey(context.Context, id.UserID, id.Ed25519) (int64, error) {
	return 0, nil
}

func (untracked) GetSignaturesForKeyBy(context.Context, id.UserID, id.Ed25519, id.UserID) (map[id.Ed25519]string, error) {
	return nil, nil
}

func (untracked) PutSecret(context.Context, id.Secret, string) error { return nil }

func (untracked) GetSecret(context.Context, id.Secret) (string, error) { return "", nil }

func (untracked) DeleteSecret(context.Context, id.Secret) error { return nil }
