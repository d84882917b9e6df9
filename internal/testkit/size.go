package testkit

import (
	"os"
	"strconv"
	"testing"
)

// Size is how much a test does of something: what a variable of the environment
// says, or what is usual.
func Size(t testing.TB, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// Missing ends a test for which this machine lacks something: it is skipped, and
// fails in CI.
func Missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}
