package pushers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// UnsubscribePath is where the links lead by which people end mails.
const UnsubscribePath = "/_trestle/client/unsubscribe"

// A Subscription is a link in a mail: a pusher, and the proof that whoever
// follows it has the mail.
type Subscription struct {
	Pusher string
	Token  string
}

func (s *Service) unsubscribeLink(p *storage.Pusher) string {
	query := url.Values{"pusher": {strconv.FormatInt(p.ID, 10)}, "token": {s.sign(p)}}
	return strings.TrimRight(s.options.BaseURL, "/") + UnsubscribePath + "?" + query.Encode()
}

func (s *Service) sign(p *storage.Pusher) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	fmt.Fprintf(mac, "unsubscribe\x00%d\x00%s\x00%s", p.ID, p.User, p.Key)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Subscribed is the address that a link is about; M_INVALID_PARAM for links that
// are wrong, or of no use any more.
func (s *Service) Subscribed(ctx context.Context, link Subscription) (address string, err error) {
	p, err := s.subscription(ctx, s.db.Read(), link)
	if err != nil {
		return "", err
	}
	return p.Key, nil
}

// Unsubscribe ends the mails that a link is in.
func (s *Service) Unsubscribe(ctx context.Context, link Subscription) error {
	return s.db.Update(ctx, func(tx *database.Tx) error {
		p, err := s.subscription(ctx, tx, link)
		if err != nil {
			return err
		}
		return s.delete(ctx, tx, p)
	})
}

func (s *Service) subscription(ctx context.Context, q database.Querier, link Subscription) (*storage.Pusher, error) {
	invalid := matrix.InvalidParam("This link is not valid, or the mails have been ended already.")
	id, err := strconv.ParseInt(link.Pusher, 10, 64)
	if err != nil {
		return nil, invalid
	}
	p, err := s.store.Find(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if p == nil || p.Kind != Email || !hmac.Equal([]byte(s.sign(p)), []byte(link.Token)) {
		return nil, invalid
	}
	return p, nil
}
