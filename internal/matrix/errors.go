package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// An Error is what a Matrix API answers: a code that programs compare and a
// sentence for people (Client-Server API § Standard error response).
type Error struct {
	Status  int            // HTTP status
	Code    string         // M_…
	Message string         // one sentence that helps
	Extra   map[string]any // further members of the body, such as retry_after_ms
	Header  http.Header    // further response headers, such as Retry-After
}

// Error is the code and the sentence.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Is makes errors.Is compare two Matrix errors by their codes.
func (e *Error) Is(target error) bool {
	var other *Error
	return errors.As(target, &other) && other.Code == e.Code
}

// MarshalJSON is the response body.
func (e *Error) MarshalJSON() ([]byte, error) {
	body := map[string]any{}
	maps.Copy(body, e.Extra)
	body["errcode"], body["error"] = e.Code, e.Message
	return json.Marshal(body)
}

// With returns a copy whose body has one member more.
func (e *Error) With(key string, value any) *Error {
	copied := *e
	copied.Extra = maps.Clone(e.Extra)
	if copied.Extra == nil {
		copied.Extra = map[string]any{}
	}
	copied.Extra[key] = value
	return &copied
}

// Code is the code of a Matrix error anywhere in the chain, or empty.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// NewError makes an error of any code; the constructors below are for those
// that the specification names.
func NewError(status int, code, format string, args ...any) *Error {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &Error{Status: status, Code: code, Message: message}
}

// Forbidden is M_FORBIDDEN, 403.
func Forbidden(format string, args ...any) *Error {
	return NewError(http.StatusForbidden, "M_FORBIDDEN", format, args...)
}

// NotFound is M_NOT_FOUND, 404.
func NotFound(format string, args ...any) *Error {
	return NewError(http.StatusNotFound, "M_NOT_FOUND", format, args...)
}

// Unrecognized is M_UNRECOGNIZED, 404: no such endpoint.
func Unrecognized(format string, args ...any) *Error {
	return NewError(http.StatusNotFound, "M_UNRECOGNIZED", format, args...)
}

// MethodNotAllowed is M_UNRECOGNIZED, 405.
func MethodNotAllowed() *Error {
	return NewError(http.StatusMethodNotAllowed, "M_UNRECOGNIZED", "This endpoint does not have that method.")
}

// MissingToken is M_MISSING_TOKEN, 401.
func MissingToken() *Error {
	return NewError(http.StatusUnauthorized, "M_MISSING_TOKEN", "This request needs an access token.")
}

// Unauthorized is for requests of servers whose signature is missing or wrong (Server-Server API § Request
// Authentication).
func Unauthorized(format string, args ...any) *Error {
	return NewError(http.StatusUnauthorized, "M_UNAUTHORIZED", format, args...)
}

// UnknownToken is M_UNKNOWN_TOKEN, 401.
func UnknownToken(softLogout bool) *Error {
	e := NewError(http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "This access token is not known.")
	if softLogout {
		return e.With("soft_logout", true)
	}
	return e
}

// UserLocked is M_USER_LOCKED, 401: the client keeps what it has until an
// administrator unlocks the account.
func UserLocked() *Error {
	return NewError(http.StatusUnauthorized, "M_USER_LOCKED", "This account has been locked.").With("soft_logout", true)
}

// UserSuspended is M_USER_SUSPENDED, 403.
func UserSuspended() *Error {
	return NewError(http.StatusForbidden, "M_USER_SUSPENDED", "You cannot do this while your account is suspended.")
}

// BadJSON is M_BAD_JSON, 400: JSON of the wrong shape.
func BadJSON(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_BAD_JSON", format, args...)
}

// NotJSON is M_NOT_JSON, 400: no JSON at all.
func NotJSON(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_NOT_JSON", format, args...)
}

// InvalidParam is M_INVALID_PARAM, 400.
func InvalidParam(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_INVALID_PARAM", format, args...)
}

// MissingParam is M_MISSING_PARAM, 400.
func MissingParam(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_MISSING_PARAM", format, args...)
}

// LimitExceeded is M_LIMIT_EXCEEDED, 429, with retry_after_ms and Retry-After.
func LimitExceeded(retryAfter time.Duration) *Error {
	e := NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "Too many requests; slow down, please.")
	seconds := int64((retryAfter + time.Second - 1) / time.Second)
	e.Header = http.Header{"Retry-After": {fmt.Sprint(seconds)}}
	return e.With("retry_after_ms", retryAfter.Milliseconds())
}

// TooLarge is M_TOO_LARGE, 413.
func TooLarge(format string, args ...any) *Error {
	return NewError(http.StatusRequestEntityTooLarge, "M_TOO_LARGE", format, args...)
}

// UserInUse is M_USER_IN_USE, 400.
func UserInUse() *Error {
	return NewError(http.StatusBadRequest, "M_USER_IN_USE", "That user ID is taken.")
}

// InvalidUsername is M_INVALID_USERNAME, 400.
func InvalidUsername(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_INVALID_USERNAME", format, args...)
}

// FailedHumanIDCheck is M_FAILED_HUMAN_ID_CHECK, 400, of the drafts of 2014:
// the name looks like another.
func FailedHumanIDCheck() *Error {
	return NewError(http.StatusBadRequest, "M_FAILED_HUMAN_ID_CHECK", "This name could be mistaken for another one; use letters of one script.")
}

// Exclusive is M_EXCLUSIVE, 400: the name is inside, or outside, the
// namespace that an application service has claimed for itself alone.
func Exclusive(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_EXCLUSIVE", format, args...)
}

// RoomInUse is M_ROOM_IN_USE, 400.
func RoomInUse(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "M_ROOM_IN_USE", format, args...)
}

// UnsupportedRoomVersion is M_UNSUPPORTED_ROOM_VERSION, 400.
func UnsupportedRoomVersion(version string) *Error {
	return NewError(http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION", "Room version %q is not supported here.", version)
}

// Unknown is M_UNKNOWN with status 500: the cause goes to the log, not to
// the caller.
func Unknown() *Error {
	return NewError(http.StatusInternalServerError, "M_UNKNOWN", "The server could not do this. Its log says why.")
}
