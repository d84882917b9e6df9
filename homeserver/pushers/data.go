package pushers

import (
	"encoding/json"
	"net/url"

	"trestle/internal/matrix"
)

// eventIDOnly is the format of pushers that are told the event's ID and no more.
const eventIDOnly = "event_id_only"

// A target is what the data of a pusher says: where its gateway is, and what it
// wants to be told.
type target struct {
	URL     string
	IDOnly  bool
	NoBadge bool // counts are the client's own business (MSC4076)
	// Rest is all but the URL, which gateways are told.
	Rest json.RawMessage
}

// readData reads a pusher's data: M_BAD_JSON or M_INVALID_PARAM for what makes
// no sense.
func readData(raw json.RawMessage) (*target, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, matrix.BadJSON("data must be an object.")
	}
	t := new(target)
	if value, ok := members["url"]; ok {
		if json.Unmarshal(value, &t.URL) != nil {
			return nil, matrix.BadJSON("data.url must be a string.")
		}
		delete(members, "url")
	}
	if value, ok := members["format"]; ok && string(value) != "null" {
		var format string
		if json.Unmarshal(value, &format) != nil {
			return nil, matrix.BadJSON("data.format must be a string.")
		}
		if format != eventIDOnly {
			return nil, matrix.InvalidParam("%.40q is no format that is known here; there is %s.", format, eventIDOnly)
		}
		t.IDOnly = true
	}
	for _, name := range []string{"disable_badge_count", "org.matrix.msc4076.disable_badge_count"} {
		t.NoBadge = t.NoBadge || string(members[name]) == "true"
	}
	var err error
	t.Rest, err = json.Marshal(members)
	return t, err
}

// placeOf names what a pusher shares with others that send to the same place:
// the gateway's host, or the relay for mails. Empty: the pusher does not send.
func (s *Service) placeOf(p *Pusher) string {
	switch {
	case !p.Enabled:
		return ""
	case p.Kind == Email && s.options.Mailer == nil:
		return ""
	case p.Kind == Email:
		return "mail:"
	}
	data, err := readData(p.Data)
	if err != nil {
		return ""
	}
	u, err := url.Parse(data.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
