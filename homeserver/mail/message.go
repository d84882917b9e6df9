package mail

import (
	"bytes"
	"fmt"
	"io"
	netmail "net/mail"
	"time"

	gomail "github.com/emersion/go-message/mail"
)

// A Message is a mail to one person. Without HTML it is plain text.
type Message struct {
	To      string // one address
	Subject string
	Text    string
	HTML    string
	// Unsubscribe is a link by which its reader ends mails of this kind; a POST
	// without a further question does so, too (RFC 2369, RFC 8058).
	Unsubscribe string
}

// encode is the message as RFC 5322 has it.
func (m Message) encode(from, to *netmail.Address, now time.Time) ([]byte, error) {
	var header gomail.Header
	header.SetDate(now)
	header.SetAddressList("From", []*gomail.Address{{Name: from.Name, Address: from.Address}})
	header.SetAddressList("To", []*gomail.Address{{Name: to.Name, Address: to.Address}})
	header.SetSubject(oneLine(m.Subject))
	// What machines have written is not answered by machines (RFC 3834).
	header.Set("Auto-Submitted", "auto-generated")
	if m.Unsubscribe != "" {
		header.Set("List-Unsubscribe", "<"+m.Unsubscribe+">")
		header.Set("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	}
	if err := header.GenerateMessageID(); err != nil {
		return nil, fmt.Errorf("message ID: %w", err)
	}
	var buf bytes.Buffer
	w, err := gomail.CreateInlineWriter(&buf, header)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct{ kind, text string }{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		if part.text == "" {
			continue
		}
		if err := writePart(w, part.kind, part.text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func writePart(w *gomail.InlineWriter, kind, text string) error {
	var header gomail.InlineHeader
	header.SetContentType(kind, map[string]string{"charset": "utf-8"})
	part, err := w.CreatePart(header)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(part, text); err != nil {
		return err
	}
	return part.Close()
}
