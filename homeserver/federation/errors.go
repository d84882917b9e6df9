package federation

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"trestle/internal/matrix"
)

var (
	// ErrDenied is for servers that the operator has nothing to do with.
	ErrDenied = errors.New("this server has nothing to do with that one")
	// ErrAnswer is wrapped by the errors of answers that make no sense.
	ErrAnswer = errors.New("the answer of the server makes no sense")
)

// Unreachable is that a server could not be asked, or did not answer.
type Unreachable struct {
	Server matrix.ServerName
	Until  time.Time // it is not tried again before; zero: it may be
	Err    error     // nil if it was not even tried
}

// Error implements error.
func (e *Unreachable) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s could not be reached, and is not tried again before %s", e.Server, e.Until.UTC().Format(time.TimeOnly))
	}
	return fmt.Sprintf("%s cannot be reached: %v", e.Server, e.Err)
}

// Unwrap is the reason.
func (e *Unreachable) Unwrap() error { return e.Err }

// Refusal is an error that another server has answered.
type Refusal struct {
	Server     matrix.ServerName
	Status     int
	Code       string // M_…, or empty if it did not say
	Message    string
	RetryAfter time.Duration // 0: it did not say
	// RoomVersion is that of the room, with M_INCOMPATIBLE_ROOM_VERSION, or empty.
	RoomVersion string
}

// Error implements error.
func (e *Refusal) Error() string {
	return fmt.Sprintf("%s answers %d %s: %.200s", e.Server, e.Status, e.Code, e.Message)
}

// refused reports whether a server has answered with one of some error codes.
func refused(err error, codes ...string) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	for _, code := range codes {
		if refusal.Code == code {
			return true
		}
	}
	return false
}

// forUser puts an error in the terms of those for whom a server was asked: what it refuses with
// one of some codes is passed on, and the rest says whose fault it is.
func forUser(server matrix.ServerName, err error, passed ...string) error {
	var refusal *Refusal
	var away *Unreachable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDenied):
		return matrix.Forbidden("This server has nothing to do with %s.", server)
	case refused(err, "M_LIMIT_EXCEEDED") && errors.As(err, &refusal):
		return matrix.LimitExceeded(max(refusal.RetryAfter, time.Second))
	case refused(err, "M_INCOMPATIBLE_ROOM_VERSION") && slices.Contains(passed, "M_INCOMPATIBLE_ROOM_VERSION") && errors.As(err, &refusal):
		return incompatible(refusal.RoomVersion)
	case refused(err, passed...) && errors.As(err, &refusal) && refusal.Status >= http.StatusBadRequest:
		return matrix.NewError(refusal.Status, refusal.Code, "%s says: %s", server, plain(refusal.Message))
	case errors.As(err, &refusal) && refusal.Status == http.StatusForbidden && refusal.Code == "":
		return matrix.Forbidden("The server %s refuses.", server)
	case errors.As(err, &refusal), errors.Is(err, ErrAnswer):
		return matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The server %s did not answer that well.", server)
	case errors.As(err, &away):
		return matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The server %s cannot be reached.", server)
	}
	return err
}

// ForUser puts an error of [Peers] in the terms of those for whom a server was asked: that it does not let them is passed on, and
// the rest is M_UNKNOWN with status 502. What the server finds wrong with a request is nothing that users could mend (Server-Server API §
// Joining Rooms: M_MISSING_PARAM and M_INVALID_PARAM are not passed on).
func ForUser(server matrix.ServerName, err error) error {
	return forUser(server, err, "M_FORBIDDEN", "M_NOT_FOUND", "M_UNABLE_TO_AUTHORISE_JOIN", "M_UNABLE_TO_GRANT_JOIN",
		"M_INCOMPATIBLE_ROOM_VERSION", "M_INVITE_BLOCKED")
}

// TryNext reports whether another server may do what one did not: if it is away, answers nonsense, does not know the room or
// the operation, or cannot let anybody in. What the room does not allow, or what this server is not capable of, is the same
// everywhere.
func TryNext(err error) bool {
	var away *Unreachable
	var refusal *Refusal
	switch {
	case err == nil, matrix.Code(err) != "":
		return false
	case errors.As(err, &refusal):
		return !refused(err, "M_FORBIDDEN", "M_INCOMPATIBLE_ROOM_VERSION", "M_UNSUPPORTED_ROOM_VERSION", "M_INVITE_BLOCKED")
	}
	return errors.As(err, &away) || errors.Is(err, ErrAnswer) || errors.Is(err, ErrDenied)
}

// incompatible is the error for rooms that this server cannot be in.
func incompatible(version string) error {
	if version == "" {
		return matrix.NewError(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "The room has a version that this server does not support.")
	}
	return matrix.NewError(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "The room has version %q, which this server does not support.", version).
		With("room_version", version)
}

// plain is a stranger's text, made fit to be shown.
func plain(text string) string {
	runes := make([]rune, 0, maxMessage)
	for _, r := range text {
		if len(runes) == maxMessage {
			break
		}
		if r < ' ' || r == '\u007f' || r == '\ufffd' {
			r = ' '
		}
		runes = append(runes, r)
	}
	return string(runes)
}

const (
	// maxMessage is how much of what another server says is shown, in characters.
	maxMessage = 200
	// maxVersion is how long the name of a room version may be, in bytes (Room Versions § Room version grammar).
	maxVersion = 32
)
