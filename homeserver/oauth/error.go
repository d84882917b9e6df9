package oauth

import "fmt"

// An Error is what OAuth endpoints answer: a code of RFC 6749, 7591 or 8628
// and a sentence for people.
type Error struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// Error is the code and the sentence.
func (e *Error) Error() string { return e.Code + ": " + e.Description }

func invalidMetadata(format string, args ...any) *Error {
	return &Error{"invalid_client_metadata", fmt.Sprintf(format, args...)}
}

func invalidRedirect(format string, args ...any) *Error {
	return &Error{"invalid_redirect_uri", fmt.Sprintf(format, args...)}
}

func invalidScope(format string, args ...any) *Error {
	return &Error{"invalid_scope", fmt.Sprintf(format, args...)}
}
