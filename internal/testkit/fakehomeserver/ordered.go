package fakehomeserver

import "net/http"

const orderedFeature = "org.trestle.ordered"

// Plain makes it a homeserver that takes events one by one only. With denied it does not even say so.
func (h *Homeserver) Plain(denied bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plain, h.denied = true, denied
}

// Ordered is how many requests of many events there were.
func (h *Homeserver) Ordered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.together
}

func (h *Homeserver) versions() any {
	return map[string]any{"versions": []string{"v1.11"}, "unstable_features": map[string]bool{orderedFeature: !h.plain || h.denied}}
}

// ordered carries out the steps of a request as their own requests would be.
func (h *Homeserver) ordered(r *request) (any, error) {
	if h.plain {
		return nil, failure{http.StatusNotFound, "M_UNRECOGNIZED", "not here"}
	}
	h.together++
	steps, _ := r.body["steps"].([]any)
	stop, _ := r.body["stop"].(bool)
	results, ended := make([]any, len(steps)), false
	for i, each := range steps {
		if ended {
			results[i] = map[string]any{"errcode": "ORG.TRESTLE.NOT_TRIED", "error": "not tried", "status": 409}
			continue
		}
		result, err := h.step(r, each.(map[string]any))
		if refused, ok := err.(failure); ok {
			result = map[string]any{"errcode": refused.code, "error": refused.text, "status": refused.status}
			ended = stop || refused.status == http.StatusConflict
		}
		results[i] = result
	}
	return map[string]any{"results": results}, nil
}

func (h *Homeserver) step(r *request, step map[string]any) (any, error) {
	body, _ := step["content"].(map[string]any)
	single := &request{user: r.user, body: body, known: r.text("known")}
	text := func(key string) string {
		text, _ := step[key].(string)
		return text
	}
	if sender := text("sender"); sender != "" {
		single.user = sender
	}
	at, _ := step["ts"].(float64)
	single.ts = int64(at)
	_, exists := h.users[single.user]
	made := !exists && step["register"] == true
	if made {
		h.users[single.user], h.ghosts[single.user] = text("displayname"), true
	} else if !exists {
		return nil, failure{403, "M_FORBIDDEN", "no such user " + single.user}
	}
	send, segments := h.send, []string{"v3", "rooms", r.path[3], "send", text("type"), text("txn_id")}
	if key, state := step["state_key"].(string); state {
		segments[3], segments[5] = "state", key
		send = func(r *request) (any, error) { return h.state(http.MethodPut, r) }
	}
	single.path = segments
	answer, err := send(single)
	if err != nil {
		return nil, err
	}
	return map[string]any{"event_id": answer.(map[string]string)["event_id"], "registered": made}, nil
}
