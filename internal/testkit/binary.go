package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// trestleBinary is the server, built from this checkout: with the race
// detector if the test has it. TEST_TRESTLE names one that is built already.
func trestleBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("TEST_TRESTLE"); path != "" {
		return path
	}
	path, err := buildTrestle()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildTrestle builds once for a process. Processes share the result, in the
// checkout's .cache, and Go's tool sees for itself whether it is still good;
// a lock keeps two of them from writing at the same time.
var buildTrestle = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, ".cache")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(folder, "build.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("wait for another build: %w", err)
	}
	binary := filepath.Join(folder, "trestle")
	args := []string{"build", "-tags=nomsgpack,goolm", "-buildvcs=false"}
	if raceEnabled {
		binary += "-race"
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "-o", binary, "./cmd/trestle")...)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, output)
	}
	return binary, nil
})

// Binary is the server's binary, built once for many tests.
func Binary(t testing.TB) string {
	t.Helper()
	return trestleBinary(t)
}
