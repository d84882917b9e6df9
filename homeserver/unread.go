package homeserver

import (
	"trestle/homeserver/push"
	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
)

func (s *Server) newUnread() *unread.Service {
	return unread.New(unread.Options{
		Store: s.store, Notifications: storage.NewNotifications(s.db), Receipts: storage.NewReceipts(s.db), Threads: storage.NewThreads(s.db),
		Rooms: s.rooms, Rules: push.NewBook(s.accounts), AccountData: s.accounts, Notifier: s.notifier, Log: s.log,
		Stored: func(users []matrix.UserID) { s.pushers.Wake(users...) },
		// Application services read the stream by themselves.
		Ghost: func(user matrix.UserID) bool { return s.registry.Load().UserOwner(user) != nil },
	})
}
