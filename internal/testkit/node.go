package testkit

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// NodeLibraries is the folder where setup.sh has installed, under this name,
// what a package-lock.json lists. Without it the test is skipped, except in CI.
func NodeLibraries(t testing.TB, name string, lock []byte) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, ".cache", name)
	_, err = exec.LookPath("node")
	if err == nil {
		var installed []byte
		installed, err = os.ReadFile(filepath.Join(folder, "installed.json"))
		if err == nil && bytes.Equal(installed, lock) {
			return folder
		}
	}
	const advice = "is not installed as package-lock.json has it (internal/testkit/scripts/setup.sh does that)"
	Missing(t, name+" "+advice, err)
	return ""
}
