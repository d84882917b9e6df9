package homeserver

import (
	"context"
	"crypto/sha256"
	"time"

	"trestle/homeserver/pushers"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
)

// newPushers makes the service that tells users of notifications.
func (s *Server) newPushers(key matrix.SigningKey) *pushers.Service {
	p := s.cfg.Pushers
	secret := sha256.Sum256(append([]byte("links in mails\x00"), key.Private.Seed()...))
	guard := outbound.New(outbound.Options{
		Allow: config.Ranges(p.AllowAddresses), Deny: config.Ranges(p.DenyAddresses), Timeout: p.Timeout.Std(), Idle: pushers.PlaceAtOnce,
	})
	o := pushers.Options{
		ServerName: s.cfg.ServerName, Store: s.store, Pushers: storage.NewPushers(s.db), Notifications: storage.NewNotifications(s.db), Rooms: s.rooms, Accounts: s.accounts,
		Client: guard.Client(), AllowHTTP: p.AllowHTTP, BaseURL: s.cfg.BaseURL(), Secret: secret[:],
		Timeout: p.Timeout.Std(), AtOnce: p.AtOnce, GiveUp: p.GiveUp.Std(), MailDelay: p.MailDelay.Std(), Log: s.log,
	}
	if s.mailer != nil {
		o.Mailer, o.Letter = s.mailer, s.mails["unread"]
	}
	service := pushers.New(o)
	service.Register(s.metrics)
	return service
}

// closePushers lets requests to gateways be answered that are nearly done.
func (s *Server) closePushers() {
	if s.pushers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.pushers.Close(ctx)
}
