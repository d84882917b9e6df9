package testkit

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// proposedMembers come from proposals that gave them no namespace.
var proposedMembers = map[string]bool{
	"postcontent": true, // a kind of push rules (MSC4306)
}

// unknownMembers are members of an object that its schema does not name. The
// specification allows them, but one of ours is most likely a typing error;
// those with a dot belong to somebody's namespace.
func unknownMembers(schema *jsonschema.Schema, value any) []string {
	object, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	known := map[string]bool{}
	if !namesOf(schema, known, 0) || len(known) == 0 {
		return nil
	}
	var names []string
	for name := range object {
		if !known[name] && !strings.Contains(name, ".") && !proposedMembers[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// namesOf collects what a schema names; false if it lets anything through on
// purpose.
func namesOf(schema *jsonschema.Schema, known map[string]bool, depth int) bool {
	if schema == nil || depth > 20 {
		return true
	}
	if schema.AdditionalProperties != nil || len(schema.PatternProperties) > 0 || schema.PropertyNames != nil {
		return false
	}
	for name := range schema.Properties {
		known[name] = true
	}
	for _, part := range slices.Concat([]*jsonschema.Schema{schema.Ref}, schema.AllOf) {
		if !namesOf(part, known, depth+1) {
			return false
		}
	}
	for _, choice := range slices.Concat(schema.AnyOf, schema.OneOf) {
		names := map[string]bool{}
		if !namesOf(choice, names, depth+1) || len(names) == 0 {
			return false
		}
		maps.Copy(known, names)
	}
	return true
}

// serverEvents are the types whose content comes from the server, not from a
// user who may send what he likes.
var serverEvents = []string{"m.typing", "m.receipt", "m.presence", "m.push_rules", "m.fully_read"}

// checkSyncEvents holds the events that the server itself makes to their own
// schemas; the schema of /sync only says that they have a type.
func (s *specification) checkSyncEvents(body any) error {
	lists := []any{field(field(body, "presence"), "events"), field(field(body, "account_data"), "events")}
	joined := field(field(body, "rooms"), "join")
	for _, room := range keysOf(joined) {
		in := field(joined, room)
		lists = append(lists, field(field(in, "ephemeral"), "events"), field(field(in, "account_data"), "events"))
	}
	for _, list := range lists {
		events, _ := list.([]any)
		for _, event := range events {
			kind, _ := field(event, "type").(string)
			if !slices.Contains(serverEvents, kind) {
				continue
			}
			if err := s.checkEvent(kind, event); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *specification) checkEvent(kind string, event any) error {
	file := filepath.Join(s.root, "event-schemas", "schema", kind+".yaml")
	document, err := s.document(file)
	if err != nil {
		return err
	}
	if err := s.schemas.check(node{file: file, value: document}, event); err != nil {
		return fmt.Errorf("the event %s: %w", kind, shorten(err))
	}
	return nil
}
