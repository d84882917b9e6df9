package testkit

import "slices"

// correct makes a document of the specification say in JSON Schema what it
// says in extensions of its own, and mends what is known to be wrong in it.
func correct(file string, document any) any {
	namePatterns(document)
	if mend, ok := corrections[file]; ok {
		mend(document)
	}
	return document
}

// corrections are known mistakes in the files, each with its reason. There
// should be few, and an update of the specification should make them fewer.
var corrections = map[string]func(document any){
	// End-to-end encryption extends /sync (Client-Server API § Extensions to
	// /sync), but the file lacks one of the members that the prose requires.
	"api/client-server/sync.yaml": func(document any) {
		ok := field(field(field(field(field(document, "paths"), "/sync"), "get"), "responses"), "200")
		schema := field(field(field(ok, "content"), "application/json"), "schema")
		members, _ := field(schema, "properties").(map[string]any)
		if members != nil && members["device_unused_fallback_key_types"] == nil {
			members["device_unused_fallback_key_types"] = map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
		}
	},
	// The metadata are those of RFC 8414; the file has only the members that
	// mean something to Matrix, and says so.
	"api/client-server/oauth_server_metadata.yaml": func(document any) {
		ok := field(field(field(field(field(document, "paths"), "/auth_metadata"), "get"), "responses"), "200")
		if schema, ok := field(field(field(ok, "content"), "application/json"), "schema").(map[string]any); ok {
			schema["additionalProperties"] = true
		}
	},
	// GET …/state/{eventType}/{stateKey} answers with any content, or with
	// ?format=event an event, which is any content too: oneOf lets no event pass.
	"api/client-server/rooms.yaml": func(document any) {
		path := field(field(document, "paths"), "/rooms/{roomId}/state/{eventType}/{stateKey}")
		ok := field(field(field(path, "get"), "responses"), "200")
		schema, _ := field(field(field(ok, "content"), "application/json"), "schema").(map[string]any)
		if schema["oneOf"] != nil {
			schema["anyOf"] = schema["oneOf"]
			delete(schema, "oneOf")
		}
		// A member without a name or a picture has null there: the
		// community's conformance suite insists on the keys.
		joined := field(field(field(document, "paths"), "/rooms/{roomId}/joined_members"), "get")
		answer := field(field(field(field(field(joined, "responses"), "200"), "content"), "application/json"), "schema")
		member := field(field(field(field(answer, "properties"), "joined"), "patternProperties"), "^@")
		for _, name := range []string{"display_name", "avatar_url"} {
			if text, ok := field(field(member, "properties"), name).(map[string]any); ok {
				text["type"] = []any{"string", "null"}
			}
		}
	},
	// Only servers ask which event was nearest to a time here, and they have no
	// tokens: clients ask at another path.
	"api/server-server/events.yaml": func(document any) {
		get := field(field(field(document, "paths"), "/timestamp_to_event/{roomId}"), "get")
		if operation, ok := get.(map[string]any); ok {
			operation["security"] = []any{map[string]any{"signedRequest": []any{}}}
		}
	},
	// A redaction has redacts beside its content (m.room.redaction), which the
	// general form of events leaves out.
	"api/client-server/definitions/client_event.yaml": func(document any) {
		parts, _ := field(document, "allOf").([]any)
		for _, part := range parts {
			if members, ok := field(part, "properties").(map[string]any); ok && members["redacts"] == nil {
				members["redacts"] = map[string]any{"type": "string", "pattern": "^\\$"}
			}
		}
	},
	// Events have an origin no more (Room Versions § Event format), and have
	// members that these files leave out, as they say themselves.
	"api/server-server/joins-v1.yaml":                 wholeEvents,
	"api/server-server/joins-v2.yaml":                 wholeEvents,
	"api/server-server/leaving-v1.yaml":               wholeEvents,
	"api/server-server/leaving-v2.yaml":               wholeEvents,
	"api/server-server/knocks.yaml":                   wholeEvents,
	"api/server-server/definitions/invite_event.yaml": wholeEvents,
}

// wholeEvents has events be those of a room version, where what is said of them
// is only some of it.
func wholeEvents(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			wholeEvents(item)
		}
	case map[string]any:
		for _, member := range value {
			wholeEvents(member)
		}
		names, _ := value["required"].([]any)
		if slices.Contains(names, any("origin")) {
			value["required"] = slices.DeleteFunc(names, func(name any) bool { return name == "origin" })
			value["additionalProperties"] = true
		}
	}
}

// namePatterns turns x-pattern-format, which gives the keys of an object a
// format, into propertyNames, which JSON Schema understands. Objects that
// have other keys as well are left alone.
func namePatterns(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			namePatterns(item)
		}
	case map[string]any:
		for _, member := range value {
			namePatterns(member)
		}
		patterns, ok := value["patternProperties"].(map[string]any)
		if !ok || value["properties"] != nil || value["additionalProperties"] != nil || value["propertyNames"] != nil {
			return
		}
		var formats []any
		for _, schema := range patterns {
			format, ok := field(schema, "x-pattern-format").(string)
			if !ok {
				return
			}
			formats = append(formats, map[string]any{"format": format})
		}
		value["propertyNames"] = map[string]any{"anyOf": formats}
	}
}
