package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/configs"
	"trestle/internal/config"
)

func TestInit(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	created, err := config.Init(folder, map[string][]string{"server_name": {"example.org"}, "listen": {"127.0.0.1:1"}})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	path := filepath.Join(folder, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("\nserver_name: \"example.org\"\n")) || bytes.Contains(text, []byte("127.0.0.1:8008")) {
		t.Error("the values are not in the file")
	}
	if strings.Count(string(text), "#") != strings.Count(string(configs.Sample), "#") {
		t.Error("comments were lost")
	}
	for path, mode := range map[string]os.FileMode{folder: 0o700, path: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, not %v: %v", path, info.Mode(), mode, err)
		}
	}
	c, err := config.Load(config.Source{Flags: parseFlags(t, "--data", folder)})
	if err != nil || c.ServerName != "example.org" || c.Listen[0] != "127.0.0.1:1" || c.AppServices[0] != filepath.Join(folder, "appservices") {
		t.Errorf("what was written does not load: %+v, %v", c, err)
	}

	created, err = config.Init(folder, map[string][]string{"server_name": {"other.org"}})
	again, _ := os.ReadFile(path)
	if err != nil || created || !bytes.Equal(text, again) {
		t.Errorf("the second time changed something: %v %v", created, err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 2 {
		t.Errorf("something was left behind: %v", entries)
	}
}

func TestInitRefusesNonsense(t *testing.T) {
	for _, values := range []map[string][]string{{"server_name": {"a b"}}, {"nonsense": {"x"}}, {"media": {"x"}}} {
		folder := filepath.Join(t.TempDir(), "new")
		if _, err := config.Init(folder, values); err == nil {
			t.Errorf("%v was taken", values)
		}
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%v left a folder behind", values)
		}
	}
}

func TestSigningKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "signing.key")
	key, created, err := config.SigningKey(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the key: %v %v", info, err)
	}
	again, created, err := config.SigningKey(path)
	if err != nil || created || again.ID != key.ID || !again.Private.Equal(key.Private) {
		t.Errorf("the second time it is %s, not %s, created %v: %v", again.ID, key.ID, created, err)
	}
	write(t, path, "nonsense")
	if _, _, err := config.SigningKey(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nonsense is a key, or the file is not named: %v", err)
	}
}

func TestInitWithFlags(t *testing.T) {
	folder, elsewhere := filepath.Join(t.TempDir(), "new"), t.TempDir()
	t.Chdir(elsewhere)
	write(t, filepath.Join(elsewhere, "secret"), "hunter2")
	flags := parseFlags(t, "--data", folder, "--listen", ":1", "--listen", "unix:/x", "--database", "my.db", "--no-bridges", "--irc-network", "oftc=irc.oftc.net:6697,tls", "--irc-network", "x=h:1",
		"--registration-shared-secret-file", "secret", "--server-name", "example.org")
	if _, err := config.Init(folder, flags.Values()); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{Flags: parseFlags(t, "--data", folder)})
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Bridges.IRC.Networks; n["oftc"].Address != "irc.oftc.net:6697" || !n["oftc"].TLS || n["x"].Address != "h:1" || n["local"].Address == "" {
		t.Errorf("the networks are %+v", n)
	}
	if len(c.Listen) != 2 || c.Listen[1] != "unix:/x" || !c.NoBridges || c.RegistrationSharedSecret != "hunter2" ||
		c.Database.Reveal() != filepath.Join(elsewhere, "my.db") || c.ServerName != "example.org" {
		t.Errorf("got %+v", c)
	}
}
