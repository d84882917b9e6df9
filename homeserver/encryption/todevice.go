package encryption

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// maxMessageSize bounds the content of one message, in bytes.
	maxMessageSize = 64 << 10
	// maxRecipients bounds the devices, or users of whom all devices are meant,
	// that one request sends to.
	maxRecipients = 10_000
	// messagesAtOnce bounds the messages of one /sync
	// (Client-Server API § Send-to-Device messaging).
	messagesAtOnce = 100
	// maxQueue bounds the messages that wait for a device.
	maxQueue = 20_000
	// sharedMessages and sharedBytes bound the messages of one request that have one
	// position: readers of the stream take those together.
	sharedMessages, sharedBytes = 50, 64 << 10
	// maxMessages and maxBytes bound what one request makes, when each user's "*" has
	// become the user's devices.
	maxMessages, maxBytes = 50_000, 32 << 20
	// transactionLifetime is how long a repeat of a transaction is known to be one.
	transactionLifetime = 24 * time.Hour
)

// A Sending is messages of one type to devices.
type Sending struct {
	Sender matrix.UserID
	Device matrix.DeviceID // of the sender
	Type   string
	TxnID  string
	// Messages is the contents by user and device; the device "*" is all of a
	// user's.
	Messages map[matrix.UserID]map[matrix.DeviceID]json.RawMessage
}

func (m *Sending) check() error {
	if !isName(m.Type) || !isName(m.TxnID) {
		return matrix.InvalidParam("A type and a transaction ID have at most %d bytes each.", matrix.MaxIDLength)
	}
	recipients := 0
	for user, devices := range m.Messages {
		if recipients += len(devices); recipients > maxRecipients {
			return matrix.TooLarge("One request sends to %d devices at most.", maxRecipients)
		}
		for device, content := range devices {
			if !isName(string(device)) {
				return matrix.InvalidParam("%.80q is no device ID.", device)
			}
			if len(content) > maxMessageSize {
				return matrix.TooLarge("The message to %s of %s has more than %d bytes.", device, user, maxMessageSize)
			}
			if _, err := object(content, "A message"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Send queues messages for devices of local users, once for each transaction
// of the sender's device. Devices that do not exist get none.
func (s *Service) Send(ctx context.Context, m Sending) error {
	if err := m.check(); err != nil {
		return err
	}
	var users []matrix.UserID
	for user, devices := range m.Messages {
		if s.local(user) && len(devices) > 0 {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		isNew, err := s.keys.ToDevice.Begin(ctx, tx, m.Sender, m.Device, m.Type, m.TxnID, s.options.Now().UnixMilli())
		if err != nil || !isNew {
			return err
		}
		messages, err := s.addressed(ctx, tx, m, users)
		if err != nil || len(messages) == 0 {
			return err
		}
		last, err := place(ctx, tx, messages)
		if err != nil {
			return err
		}
		tx.OnCommit(func() { s.sent(users, last) })
		return s.keys.ToDevice.Insert(ctx, tx, messages)
	})
}

// addressed is a message for each device. One that is meant for all of a user's devices
// is not for those that get one of their own.
func (s *Service) addressed(ctx context.Context, tx *database.Tx, m Sending, users []matrix.UserID) (messages []storage.ToDeviceMessage, err error) {
	bytes := 0
	add := func(user matrix.UserID, device matrix.DeviceID, content json.RawMessage) {
		bytes += len(content)
		messages = append(messages, storage.ToDeviceMessage{User: user, Device: device, Sender: m.Sender, Type: m.Type, Content: content})
	}
	var all []matrix.UserID
	for _, user := range users {
		for device, content := range m.Messages[user] {
			if device == "*" {
				all = append(all, user)
				continue
			}
			add(user, device, content)
		}
	}
	if len(all) > 0 {
		devices, err := s.keys.ToDevice.Devices(ctx, tx, all, maxMessages+1)
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if _, own := m.Messages[d.User][d.Device]; own {
				continue
			}
			if add(d.User, d.Device, m.Messages[d.User]["*"]); bytes > maxBytes || len(messages) > maxMessages {
				return nil, matrix.TooLarge("These messages go to too many devices for their size.")
			}
		}
	}
	return messages, nil
}

// place gives messages their positions in the stream, and returns the last.
func place(ctx context.Context, tx *database.Tx, messages []storage.ToDeviceMessage) (last int64, err error) {
	count, bytes := sharedMessages, 0
	for i := range messages {
		size := len(messages[i].Content)
		if count == sharedMessages || bytes+size > sharedBytes {
			if last, err = tx.Position(ctx); err != nil {
				return 0, err
			}
			count, bytes = 0, 0
		}
		count, bytes = count+1, bytes+size
		messages[i].Position = last
	}
	return last, nil
}

func (s *Service) sent(users []matrix.UserID, position int64) {
	for _, user := range users {
		s.queues.forget(user)
		s.options.Notifier.UserChanged(user, notifier.ToDevice, position)
	}
}

// toDeviceEvent is a message as /sync shows it.
type toDeviceEvent struct {
	Content json.RawMessage `json:"content"`
	Sender  matrix.UserID   `json:"sender"`
	Type    string          `json:"type"`
}

// ToDevice is the messages to a device in (since, upTo], as events, oldest
// first. If there are more than fit into one answer, next is the position of
// the last one that did, from which to go on; otherwise it is 0.
func (s *Service) ToDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, since, upTo int64) (events []json.RawMessage, next int64, err error) {
	oldest, err := s.oldestMessage(ctx, user, device)
	if err != nil || oldest == 0 {
		return nil, 0, err
	}
	list, err := s.keys.ToDevice.Pending(ctx, user, device, since, upTo, messagesAtOnce+1)
	if err != nil {
		return nil, 0, err
	}
	if len(list) > messagesAtOnce {
		list = list[:messagesAtOnce]
		next = list[messagesAtOnce-1].Position
	}
	for _, m := range list {
		event, err := json.Marshal(toDeviceEvent{m.Content, m.Sender, m.Type})
		if err != nil {
			return nil, 0, err
		}
		events = append(events, event)
	}
	return events, next, nil
}

// Acknowledge takes in that a device has received all messages up to a
// position: they are deleted, without waiting for it. Call it with what the
// since token of a /sync says.
func (s *Service) Acknowledge(ctx context.Context, user matrix.UserID, device matrix.DeviceID, upTo int64) error {
	oldest, err := s.oldestMessage(ctx, user, device)
	if err != nil || oldest == 0 || oldest > upTo {
		return err
	}
	s.store.DB.Enqueue(func(tx *database.Tx) error {
		tx.OnCommit(func() { s.queues.forget(user) })
		return s.keys.ToDevice.Acknowledge(context.WithoutCancel(ctx), tx, user, device, upTo)
	}, func(error) {}) // the next call tries again
	return nil
}

// oldestMessage is the position of the oldest message to a device, or 0.
func (s *Service) oldestMessage(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (int64, error) {
	oldest, found, mark := s.queues.get(user, device)
	if found {
		return oldest, nil
	}
	oldest, err := s.keys.ToDevice.Oldest(ctx, user, device)
	if err == nil {
		s.queues.put(user, device, oldest, mark)
	}
	return oldest, err
}

// Tidy forgets old transactions and shortens queues of devices that nobody
// uses, oldest messages first. An application service that is down for long
// loses nothing: its users' queues stay. Call it every hour or so.
func (s *Service) Tidy(ctx context.Context) error {
	long, err := s.keys.ToDevice.LongQueues(ctx, maxQueue)
	if err != nil {
		return err
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		before := s.options.Now().Add(-transactionLifetime).UnixMilli()
		if err := s.keys.ToDevice.ForgetTransactions(ctx, tx, before); err != nil {
			return err
		}
		for _, d := range long {
			if s.options.AppServices.Owned(d.User) {
				continue
			}
			tx.OnCommit(func() { s.queues.forget(d.User) })
			if err := s.keys.ToDevice.Trim(ctx, tx, d, maxQueue); err != nil {
				return err
			}
		}
		return nil
	})
}
