package matrix_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"trestle/internal/matrix"
)

func TestErrorBody(t *testing.T) {
	e := matrix.LimitExceeded(1500 * time.Millisecond)
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests; slow down, please.","retry_after_ms":1500}`; string(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if e.Status != 429 || e.Header.Get("Retry-After") != "2" {
		t.Errorf("status %d, Retry-After %s", e.Status, e.Header.Get("Retry-After"))
	}
}

func TestErrorIdentity(t *testing.T) {
	err := fmt.Errorf("join: %w", matrix.Forbidden("You are banned from %s.", "!r"))
	if !errors.Is(err, matrix.Forbidden("")) || errors.Is(err, matrix.NotFound("")) {
		t.Error("errors.Is does not compare codes")
	}
	if matrix.Code(err) != "M_FORBIDDEN" || matrix.Code(errors.New("x")) != "" || matrix.Code(nil) != "" {
		t.Error("Code does not find the code")
	}
}

func TestErrorWithCopies(t *testing.T) {
	first := matrix.UnknownToken(true)
	second := first.With("x", 1)
	if _, ok := first.Extra["x"]; ok || second.Extra["soft_logout"] != true || second.Extra["x"] != 1 {
		t.Errorf("%v, %v", first.Extra, second.Extra)
	}
}
