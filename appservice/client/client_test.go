package client_test

import (
	"context"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func TestStatements(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		if err := database.CheckStatements(context.Background(), open(t, url)); err != nil {
			t.Fatal(err)
		}
	})
}

func open(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(context.Background(), url, migrations.Bridges, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}
