package oauth

import (
	"errors"
	"fmt"
	"net/http"

	"trestle/internal/matrix"
)

// An Error is what OAuth endpoints answer: a code of RFC 6749, 7591 or 8628
// and a sentence for people.
type Error struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// Error is the code and the sentence.
func (e *Error) Error() string { return e.Code + ": " + e.Description }

// Answer is the response (RFC 6749 § 5.2).
func (e *Error) Answer() (status int, body any) {
	if e.Code == "invalid_client" {
		return http.StatusUnauthorized, e
	}
	return http.StatusBadRequest, e
}

func newError(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

func invalidMetadata(format string, args ...any) *Error {
	return newError("invalid_client_metadata", format, args...)
}

func invalidRedirect(format string, args ...any) *Error {
	return newError("invalid_redirect_uri", format, args...)
}

func invalidScope(format string, args ...any) *Error {
	return newError("invalid_scope", format, args...)
}

func invalidRequest(format string, args ...any) *Error {
	return newError("invalid_request", format, args...)
}

func invalidGrant(format string, args ...any) *Error {
	return newError("invalid_grant", format, args...)
}

func unknownClient() *Error {
	return newError("invalid_client", "There is no such client; it has to register again.")
}

// refused is what a client is told of an account that cannot be used: the
// grant is of no use to it any more. Other errors stay what they are.
func refused(err error) error {
	var known *matrix.Error
	if errors.As(err, &known) && known.Status < http.StatusInternalServerError && known.Status != http.StatusTooManyRequests {
		return invalidGrant("%s", known.Message)
	}
	return err
}
