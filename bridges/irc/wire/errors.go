package wire

import "errors"

// How a connection ends or does not come to be. Compare with errors.Is.
var (
	ErrClosed      = errors.New("connection closed") // by us
	ErrPingTimeout = errors.New("server stopped answering")
	ErrLineTooLong = errors.New("server sent an endless line")
	ErrMalformed   = errors.New("malformed line")

	// Reasons of a *RegisterError.
	ErrAuth        = errors.New("authentication refused")
	ErrNoSASL      = errors.New("server does not offer the SASL mechanism")
	ErrBadPassword = errors.New("server password refused")
	ErrBanned      = errors.New("banned from the server")
	ErrNoNick      = errors.New("no nick was accepted")
	ErrRefused     = errors.New("server closed the connection")

	// Reasons of a *JoinError.
	ErrNoSuchChannel   = errors.New("no such channel")                    // 403, 476, 479
	ErrTooManyChannels = errors.New("too many channels")                  // 405
	ErrUnavailable     = errors.New("channel unavailable for the moment") // 437, 407, 263
	ErrChannelFull     = errors.New("channel is full")                    // 471
	ErrInviteOnly      = errors.New("channel is invite-only")             // 473
	ErrChannelBan      = errors.New("banned from the channel")            // 474
	ErrBadKey          = errors.New("wrong channel key")                  // 475
	ErrNeedAccount     = errors.New("channel is for registered nicks")    // 477
	ErrNeedTLS         = errors.New("channel is for secure connections")  // 489
	ErrNeedOper        = errors.New("channel is for operators")           // 520
	ErrForwarded       = errors.New("channel forwards elsewhere")         // 470
	ErrJoinRefused     = errors.New("join refused")                       // anything else
)

// A RegisterError is the server's refusal to let us in, or to keep us.
type RegisterError struct {
	Reason error  // one of the errors above
	Code   string // the numeric, or ERROR; empty if the refusal is ours
	Text   string // in the server's words
}

// A JoinError is a channel's or the server's refusal to let us join.
type JoinError struct {
	Channel string
	Reason  error  // one of the errors above
	Code    string // the numeric, or FAIL's code; empty if the refusal is ours
	Text    string // in the server's words
	Forward string // where a 470 sends us; the server joins us there unasked
}

// A NickError is the refusal of a nick.
type NickError struct{ Nick, Code, Text string }

// A SendError is the refusal of a text.
type SendError struct{ Target, Code, Text string }

// Error is the reason and the server's words.
func (e *RegisterError) Error() string { return said(e.Reason.Error(), e.Code, e.Text) }

// Unwrap is the reason.
func (e *RegisterError) Unwrap() error { return e.Reason }

// Error is the reason and the server's words.
func (e *JoinError) Error() string {
	return said("join "+e.Channel+": "+e.Reason.Error(), e.Code, e.Text)
}

// Unwrap is the reason.
func (e *JoinError) Unwrap() error { return e.Reason }

// Error is the server's words.
func (e *NickError) Error() string { return said("nick "+e.Nick+" refused", e.Code, e.Text) }

// Error is the server's words.
func (e *SendError) Error() string { return said("text to "+e.Target+" refused", e.Code, e.Text) }

func said(what, code, text string) string {
	if text != "" {
		what += ": " + text
	}
	if code != "" {
		what += " (" + code + ")"
	}
	return what
}
