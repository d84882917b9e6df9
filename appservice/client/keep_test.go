package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"trestle/appservice"
	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/testkit"
)

var insertKept = database.SQL(`
	INSERT INTO settings (name, value)
	VALUES ($1, 'kept')`)

// What else is in a transaction is kept with it or not at all, and once.
func TestWhatElseComesIsKeptWithTheTransaction(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		in := client.NewInbox(open(t, url), nil)
		failure := errors.New("the disk is full")
		var done []string
		in.Keep = func(_ context.Context, txn *appservice.Transaction) (func(context.Context, *database.Tx) error, func(), error) {
			name := string(txn.ToDevice[0])
			return func(ctx context.Context, tx *database.Tx) error {
				if _, err := tx.Exec(ctx, insertKept, name); err != nil {
					return err
				}
				return failure
			}, func() { done = append(done, name) }, nil
		}
		r := newRecorder(always)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx, r) }()
		defer func() { cancel(); <-ended }()
		txn := &appservice.Transaction{Events: events("r", 1, 1), ToDevice: []json.RawMessage{json.RawMessage(`"first"`)}}
		if err := in.StoreAll(t.Context(), "1", txn); !errors.Is(err, failure) || len(done) > 0 {
			t.Errorf("the transaction is taken: %v, %v", err, done)
		}
		failure = nil
		for range 2 { // the second is a repeat, which would break the key
			if err := in.StoreAll(t.Context(), "1", txn); err != nil {
				t.Error(err)
			}
		}
		if seen := r.wait(t, 1); !slices.Equal(seen, ids("r", 1, 1)) || len(done) == 0 {
			t.Errorf("handled %v, kept %v", seen, done)
		}
	})
}
