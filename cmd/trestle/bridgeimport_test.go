package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestImportingIntoADataFolder(t *testing.T) {
	url, folder := testkit.Postgres(t), t.TempDir()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `
		CREATE TABLE schema (version INTEGER);
		INSERT INTO schema VALUES (9);
		CREATE TABLE rooms (origin TEXT, room_id TEXT, type TEXT, irc_domain TEXT, irc_channel TEXT, irc_json JSON, matrix_json JSON);
		INSERT INTO rooms VALUES ('alias', '!quay:localhost', 'channel', 'irc.harbour.example', '#quay', '{}', '{}');
		CREATE TABLE deactivated_users (user_id TEXT, ts BIGINT);
		INSERT INTO deactivated_users VALUES ('@mallory:localhost', 1);`); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(folder, "theirs.yaml")
	text := fmt.Sprintf("homeserver: {domain: localhost}\ndatabase: {engine: postgres, connectionString: %q}\n"+
		"ircService:\n  passwordEncryptionKeyPath: not-there.pem\n  servers:\n    irc.harbour.example: {networkId: harbour, sendConnectionMessages: true, botConfig: {nick: Pilot}}\n", url)
	if err := os.WriteFile(theirs, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	data, output := filepath.Join(folder, "data"), filepath.Join(folder, "irc.yaml")
	args := []string{"bridge", "irc", "import", "--config", theirs, "--data", data, "--output", output}

	dry := trestle(t, nil, "", append(args, "--dry-run")...)
	if dry.code != 0 || !strings.Contains(dry.err, "would be moved:\n       1  channels with their rooms") || !strings.Contains(dry.err, "sendConnectionMessages: people are told only") ||
		!strings.Contains(dry.out, `address: "irc.harbour.example:6667"`) {
		t.Errorf("a dry run: %+v", dry)
	}
	for _, path := range []string{data, output} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("a dry run has made %s", path)
		}
	}
	for round, want := range []string{"was moved:\n       1  channels with their rooms", "1  rooms that were here already"} {
		if got := trestle(t, nil, "", args...); got.code != 0 || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("round %d: %+v", round, got)
		}
	}
	cfg, err := config.Load(config.Source{Environ: []string{"TRESTLE_CONFIG=" + output, "TRESTLE_DATA=" + data}})
	if err != nil {
		t.Fatal(err)
	}
	bans, err := os.ReadFile(cfg.Bridges.IRC.Networks["harbour"].BanFile)
	if err != nil || !strings.Contains(string(bans), "user @mallory:localhost\n") || cfg.Bridges.IRC.BotUser != "appservice-irc" {
		t.Errorf("the configuration is %+v, the bans %q, %v", cfg.Bridges.IRC, bans, err)
	}
	if _, err := os.Stat(output + ".new"); err != nil {
		t.Errorf("a configuration that was there: %v", err)
	}
}

func TestImportingNeedsItsThings(t *testing.T) {
	folder := t.TempDir()
	theirs := filepath.Join(folder, "theirs.yaml")
	if err := os.WriteFile(theirs, []byte("homeserver: {domain: localhost}\ndatabase: {connectionString: 'nedb://data'}\nircService: {servers: {irc.example.org: {}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"--config is missing":      {},
		"no such file":             {"--config", filepath.Join(folder, "none")},
		"not in PostgreSQL":        {"--config", theirs},
		"connect":                  {"--config", theirs, "--database", "postgres://127.0.0.1:1/none"},
		"ircService.servers: ther": {"--config", writeText(t, "homeserver: {domain: localhost}")},
	} {
		if got := trestle(t, nil, "", append([]string{"bridge", "irc", "import", "--data", folder}, args...)...); got.code == 0 || !strings.Contains(got.err, want) {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := trestle(t, nil, "", "bridge", "irc", "status", "--data", folder); got.code == 0 || !strings.Contains(got.err, "does not run") {
		t.Errorf("the status without a bridge: %+v", got)
	}
}

func writeText(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
