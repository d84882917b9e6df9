package registration

import (
	"fmt"
	"strings"
)

// Annotated is the content of a new registration's file, with a word on every
// key for whoever goes on with it. Like [Registration.Marshal] it can be loaded.
func (r *Registration) Annotated() ([]byte, error) {
	var text strings.Builder
	put := func(comment, key, value string) {
		for line := range strings.SplitSeq(comment, "\n") {
			fmt.Fprintf(&text, "# %s\n", line)
		}
		fmt.Fprintf(&text, "%s: %s\n\n", key, value)
	}
	address := "null"
	if r.URL != "" {
		address = single(r.URL)
	}
	put("Names the service; unique among all of this homeserver.", "id", single(r.ID))
	put("Where the homeserver reaches the service: http://, https:// or unix:///path.\nnull: it wants to hear nothing.", "url", address)
	put("The service shows this to the homeserver. Keep it secret: it opens all users\nof the namespaces below.", "as_token", single(r.ASToken))
	put("The homeserver shows this to the service.", "hs_token", single(r.HSToken))
	put("The service's own user, between @ and the colon.", "sender_localpart", single(r.SenderLocalpart))
	put("true holds the service and its users to the rate limits of people.", "rate_limited", fmt.Sprint(r.RateLimited))
	put("Typing, receipts, presence and messages to devices are sent as well.", "receive_ephemeral", fmt.Sprint(r.ReceiveEphemeral))
	text.WriteString("# What concerns the service: expressions that are held against whole IDs. Names\n" +
		"# under an exclusive one are the service's alone.\nnamespaces:\n")
	for _, list := range []struct {
		key    string
		spaces []Namespace
	}{{"users", r.Namespaces.Users}, {"aliases", r.Namespaces.Aliases}, {"rooms", r.Namespaces.Rooms}} {
		if len(list.spaces) == 0 {
			fmt.Fprintf(&text, "  %s: []\n", list.key)
			continue
		}
		fmt.Fprintf(&text, "  %s:\n", list.key)
		for _, space := range list.spaces {
			fmt.Fprintf(&text, "    - regex: %s\n      exclusive: %v\n", single(space.Regex), space.Exclusive)
		}
	}
	data := []byte(text.String())
	got, err := Parse("", data)
	if err != nil {
		return nil, fmt.Errorf("the registration %q is not valid: %w", r.ID, err)
	}
	if different := differentKeys(r, got); got.ID != r.ID || len(different) > 0 {
		return nil, fmt.Errorf("the registration %q cannot be written: %q", r.ID, different)
	}
	return data, nil
}

// single is a text in YAML in which backslashes stand for themselves.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
