package registration_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trestle/registration"
)

func TestWriteAndLoad(t *testing.T) {
	dir := t.TempDir()
	r := registration.Generate("irc", "http://localhost:9000/", "ircbot")
	r.Namespaces.Users = space(t, `@irc_.*:example\.org`, true)
	r.ReceiveEphemeral, r.QueryToken = true, registration.QueryTokenNever
	path := filepath.Join(dir, "irc.yaml")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the secrets has mode %v, %v", info.Mode(), err)
	}
	silent := registration.Generate("silent", "", "silentbot")
	if err := silent.Write(filepath.Join(dir, "a-silent.yml")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".hidden.yaml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("["), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	regs, err := registration.LoadDir(dir)
	if err != nil || ids(regs) != "silent irc" {
		t.Fatalf("loaded %q, %v", ids(regs), err)
	}
	got := regs[1]
	if got.URL != "http://localhost:9000" || got.ASToken != r.ASToken || got.HSToken != r.HSToken || len(got.ASToken) != 64 ||
		!got.ReceiveEphemeral || got.RateLimited || got.QueryToken != registration.QueryTokenNever ||
		!got.Namespaces.Users[0].Matches("@irc_x:example.org") {
		t.Errorf("came back as %+v", got)
	}
	if regs[0].URL != "" {
		t.Errorf("a service without traffic came back with %q", regs[0].URL)
	}
}

func TestLoadDirReportsEveryFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("id: x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := registration.LoadDir(dir)
	if err == nil || !strings.Contains(err.Error(), "a.yaml:1:") || !strings.Contains(err.Error(), "b.yaml:1:") {
		t.Fatalf("%v", err)
	}
	if _, err := registration.LoadDir(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Fatalf("%v", err)
	}
}

// A pipe that nobody writes to would be read for ever.
func TestPipesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registration.LoadDir(dir); err == nil || !strings.Contains(err.Error(), "pipe.yaml: This is no regular file.") {
		t.Errorf("%v", err)
	}
}

func TestWriteRefusesWhatCannotBeLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := registration.Generate("x", "gopher://x", "bot").Write(path); err == nil {
		t.Fatal("a registration with a bad URL was written")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("something was left behind")
	}
}
