package encryption

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/olm"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// maxName bounds what others call their sessions, rooms and keys.
const maxName = 600

func storable(name string) bool {
	return len(name) <= maxName && utf8.ValidString(name) && !strings.Contains(name, "\x00")
}

// A store is what one device knows, as the library wants it. Nothing that it is told is durable
// before its work is committed.
type store struct {
	work
	untracked
	owner  string // whose device it is
	key    []byte // to pickles
	others *directory

	// Of the unit that is under way:
	sessions map[id.SenderKey]map[id.SessionID]*crypto.OlmSession // as handed out
	opened   bool                                                 // a message to the device was, now or before
	wedged   id.SenderKey                                         // needs another session than those that there are
}

var _ crypto.Store = (*store)(nil)

func newStore(s *Service, owner string) *store {
	return &store{
		work: work{db: s.db, changed: map[recordKey][]byte{}}, owner: owner, key: s.key, others: s.others,
		sessions: map[id.SenderKey]map[id.SessionID]*crypto.OlmSession{},
	}
}

// begin starts a unit.
func (s *store) begin() {
	clear(s.sessions)
	s.opened, s.wedged = false, ""
}

func (s *store) own(kind, name, part string) recordKey {
	return recordKey{s.owner, kind, name, part}
}

func (s *store) Flush(context.Context) error { return nil }

type accountRecord struct {
	Pickle []byte `json:"pickle"`
	Shared bool   `json:"shared"`
}

func (s *store) PutAccount(ctx context.Context, account *crypto.OlmAccount) error {
	pickle, err := account.Internal.Pickle(s.key)
	if err != nil {
		return err
	}
	return s.put(ctx, s.own(kindAccount, "", ""), accountRecord{pickle, account.Shared})
}

func (s *store) GetAccount(ctx context.Context) (*crypto.OlmAccount, error) {
	var r accountRecord
	found, err := s.get(ctx, s.own(kindAccount, "", ""), &r)
	if err != nil || !found {
		return nil, err
	}
	account := &crypto.OlmAccount{Internal: olm.NewBlankAccount(), Shared: r.Shared}
	return account, account.Internal.Unpickle(r.Pickle, s.key)
}

type sessionRecord struct {
	Pickle    []byte    `json:"pickle"`
	Created   time.Time `json:"created"`
	Encrypted time.Time `json:"encrypted"`
	Decrypted time.Time `json:"decrypted"`
}

func (s *store) AddSession(ctx context.Context, key id.SenderKey, session *crypto.OlmSession) error {
	if s.sessions[key] == nil {
		s.sessions[key] = map[id.SessionID]*crypto.OlmSession{}
	}
	s.sessions[key][session.ID()] = session
	if s.wedged == key {
		s.wedged = ""
	}
	return s.UpdateSession(ctx, key, session)
}

func (s *store) UpdateSession(ctx context.Context, key id.SenderKey, session *crypto.OlmSession) error {
	pickle, err := session.Internal.Pickle(s.key)
	if err != nil {
		return err
	}
	return s.put(ctx, s.own(kindSession, string(key), string(session.ID())), sessionRecord{
		pickle, session.CreationTime, session.LastEncryptedTime, session.LastDecryptedTime,
	})
}

func (s *store) DeleteSession(_ context.Context, key id.SenderKey, session *crypto.OlmSession) error {
	delete(s.sessions[key], session.ID())
	s.remove(s.own(kindSession, string(key), string(session.ID())))
	return nil
}

// GetSessions hands out the same session each time, as long as a unit lasts: there must not be
// two that take the same step.
func (s *store) GetSessions(ctx context.Context, key id.SenderKey) (crypto.OlmSessionList, error) {
	if !storable(string(key)) {
		return nil, errors.New("that is no sender's key")
	}
	parts, err := s.list(ctx, s.own(kindSession, string(key), ""))
	if err != nil {
		return nil, err
	}
	if s.sessions[key] == nil {
		s.sessions[key] = map[id.SessionID]*crypto.OlmSession{}
	}
	var all crypto.OlmSessionList
	for part, value := range parts {
		session := s.sessions[key][id.SessionID(part)]
		if session == nil {
			var r sessionRecord
			if err := json.Unmarshal(value, &r); err != nil {
				return nil, err
			}
			session = &crypto.OlmSession{Internal: olm.NewBlankSession()}
			session.CreationTime, session.LastEncryptedTime, session.LastDecryptedTime = r.Created, r.Encrypted, r.Decrypted
			if err := session.Internal.Unpickle(r.Pickle, s.key); err != nil {
				return nil, err
			}
			s.sessions[key][id.SessionID(part)] = session
		}
		all = append(all, session)
	}
	slices.SortFunc(all, func(a, b *crypto.OlmSession) int { return b.LastDecryptedTime.Compare(a.LastDecryptedTime) })
	return all, nil
}

func (s *store) HasSession(ctx context.Context, key id.SenderKey) bool {
	all, err := s.GetSessions(ctx, key)
	return err == nil && len(all) > 0 && s.wedged != key
}

func (s *store) GetLatestSession(ctx context.Context, key id.SenderKey) (*crypto.OlmSession, error) {
	all, err := s.GetSessions(ctx, key)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// GetNewestSessionCreationTS is what the library asks before it makes another session by itself,
// behind our backs. It does that with a context that has ended, and so it never does.
func (s *store) GetNewestSessionCreationTS(ctx context.Context, _ id.SenderKey) (time.Time, error) {
	return time.Now(), ctx.Err()
}

func (s *store) PutOlmHash(ctx context.Context, hash [32]byte, at time.Time) error {
	s.opened = true
	return s.put(ctx, s.own(kindHash, hex.EncodeToString(hash[:]), ""), at.UnixMilli())
}

func (s *store) GetOlmHash(ctx context.Context, hash [32]byte) (time.Time, error) {
	var at int64
	found, err := s.get(ctx, s.own(kindHash, hex.EncodeToString(hash[:]), ""), &at)
	if err != nil || !found {
		return time.Time{}, err
	}
	s.opened = true
	return time.UnixMilli(at), nil
}

type outboundRecord struct {
	Pickle    []byte        `json:"pickle"`
	Shared    bool          `json:"shared"`
	Limit     int           `json:"limit"`
	Count     int           `json:"count"`
	MaxAge    time.Duration `json:"max_age"`
	Created   time.Time     `json:"created"`
	Encrypted time.Time     `json:"encrypted"`
	Audience  string        `json:"audience"` // who has the key
}

func (s *store) AddOutboundGroupSession(ctx context.Context, session *crypto.OutboundGroupSession) error {
	pickle, err := session.Internal.Pickle(s.key)
	if err != nil {
		return err
	}
	return s.put(ctx, s.own(kindOutbound, string(session.RoomID), ""), outboundRecord{
		pickle, session.Shared, session.MaxMessages, session.MessageCount, session.MaxAge,
		session.CreationTime, session.LastEncryptedTime, purposeOf(ctx).audience,
	})
}

func (s *store) UpdateOutboundGroupSession(ctx context.Context, session *crypto.OutboundGroupSession) error {
	return s.AddOutboundGroupSession(ctx, session)
}

// GetOutboundGroupSession finds no session to which others have the key than those who are to
// read.
func (s *store) GetOutboundGroupSession(ctx context.Context, room id.RoomID) (*crypto.OutboundGroupSession, error) {
	var r outboundRecord
	found, err := s.get(ctx, s.own(kindOutbound, string(room), ""), &r)
	if err != nil || !found || r.Audience != purposeOf(ctx).audience {
		return nil, err
	}
	session := &crypto.OutboundGroupSession{
		Internal: olm.NewBlankOutboundGroupSession(), RoomID: room, Shared: r.Shared,
		MaxMessages: r.Limit, MessageCount: r.Count, Users: map[crypto.UserDevice]crypto.OGSState{},
	}
	session.MaxAge, session.CreationTime, session.LastEncryptedTime = r.MaxAge, r.Created, r.Encrypted
	return session, session.Internal.Unpickle(r.Pickle, s.key)
}

func (s *store) RemoveOutboundGroupSession(_ context.Context, room id.RoomID) error {
	s.remove(s.own(kindOutbound, string(room), ""))
	return nil
}

type inboundRecord struct {
	Pickle     []byte       `json:"pickle"`
	SigningKey id.Ed25519   `json:"signing_key"`
	SenderKey  id.SenderKey `json:"sender_key"`
	Chains     []string     `json:"chains,omitempty"`
}

// inbound names a key to a room by who has sent it: what others send cannot take its place.
func inbound(kind string, room id.RoomID, session id.SessionID, user id.UserID) recordKey {
	return recordKey{"", kind, string(room), string(session) + " " + string(user)}
}

// PutGroupSession keeps a key, unless there is a better one, or it comes by a way that we have
// not asked for.
func (s *store) PutGroupSession(ctx context.Context, session *crypto.InboundGroupSession) error {
	from := purposeOf(ctx)
	k := inbound(kindInbound, session.RoomID, session.ID(), from.user)
	if len(session.ForwardingChains) > 0 && (from.wanted == nil || !from.wanted(k)) {
		return errors.New("a forwarded key that nobody has asked for")
	}
	before, err := s.GetGroupSession(ctx, session.RoomID, session.ID())
	if err == nil && before != nil && (before.SenderKey != session.SenderKey || before.Internal.FirstKnownIndex() <= session.Internal.FirstKnownIndex()) {
		return nil
	}
	pickle, err := session.Internal.Pickle(s.key)
	if err != nil {
		return err
	}
	return s.put(ctx, k, inboundRecord{pickle, session.SigningKey, session.SenderKey, session.ForwardingChains})
}

func (s *store) GetGroupSession(ctx context.Context, room id.RoomID, session id.SessionID) (*crypto.InboundGroupSession, error) {
	user := purposeOf(ctx).user
	k := inbound(kindInbound, room, session, user)
	if !storable(k.name) || !storable(k.part) {
		return nil, nil
	}
	var r inboundRecord
	found, err := s.get(ctx, k, &r)
	if err != nil {
		return nil, err
	}
	if !found {
		withheld, err := s.GetWithheldGroupSession(ctx, room, session)
		if err != nil || withheld == nil {
			return nil, err
		}
		return nil, withheld
	}
	group := &crypto.InboundGroupSession{
		Internal: olm.NewBlankInboundGroupSession(), RoomID: room,
		SigningKey: r.SigningKey, SenderKey: r.SenderKey, ForwardingChains: r.Chains,
	}
	return group, group.Internal.Unpickle(r.Pickle, s.key)
}

func (s *store) PutWithheldGroupSession(ctx context.Context, content event.RoomKeyWithheldEventContent) error {
	content.Reason = ""
	return s.put(ctx, inbound(kindWithheld, content.RoomID, content.SessionID, purposeOf(ctx).user), content)
}

func (s *store) GetWithheldGroupSession(ctx context.Context, room id.RoomID, session id.SessionID) (*event.RoomKeyWithheldEventContent, error) {
	var content event.RoomKeyWithheldEventContent
	found, err := s.get(ctx, inbound(kindWithheld, room, session, purposeOf(ctx).user), &content)
	if err != nil || !found {
		return nil, err
	}
	return &content, nil
}

// ValidateMessageIndex notes what has to be known about an event; see Service.Open.
func (s *store) ValidateMessageIndex(ctx context.Context, _ id.SenderKey, session id.SessionID, _ id.EventID, index uint, _ int64) (bool, error) {
	if noted := purposeOf(ctx).index; noted != nil {
		*noted = index
	}
	return true, ctx.Err()
}

func (s *store) GetDevices(ctx context.Context, user id.UserID) (map[id.DeviceID]*id.Device, error) {
	return s.others.of(user), ctx.Err()
}

func (s *store) GetDevice(ctx context.Context, user id.UserID, device id.DeviceID) (*id.Device, error) {
	return s.others.of(user)[device], ctx.Err()
}

func (s *store) FindDeviceByKey(ctx context.Context, user id.UserID, key id.IdentityKey) (*id.Device, error) {
	for _, device := range s.others.of(user) {
		if device.IdentityKey == key {
			return device, ctx.Err()
		}
	}
	return nil, ctx.Err()
}

func (s *store) PutDevices(ctx context.Context, user id.UserID, devices map[id.DeviceID]*id.Device) error {
	s.others.learn(user, devices, purposeOf(ctx).version)
	return ctx.Err()
}
