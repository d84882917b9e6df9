package fakehomeserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// a request to an operation: the path's segments, unescaped, and the body.
type request struct {
	user string
	path []string
	body map[string]any
	ts   int64

	query url.Values
	// known is the newest event that the bridge knows, or empty.
	known string
}

func (r *request) text(key string) string {
	text, _ := r.body[key].(string)
	return text
}

func (r *request) is(pattern string) bool {
	want := strings.Split(pattern, "/")
	if len(want) != len(r.path) {
		return false
	}
	for i, segment := range want {
		if segment != "*" && segment != r.path[i] {
			return false
		}
	}
	return true
}

// A failure is an error of the API.
type failure struct {
	status int
	code   string
	text   string
}

func (f failure) Error() string { return f.text }

func (h *Homeserver) serve(w http.ResponseWriter, r *http.Request) {
	holding := h.holding(r)
	h.answer(w, r)
	holding.wait(r) // the answer goes when this returns
}

func (h *Homeserver) answer(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path == "/_matrix/federation/v1/openid/userinfo" {
		h.userInfo(w, r)
		return
	}
	req := &request{user: r.URL.Query().Get("user_id"), body: map[string]any{}, query: r.URL.Query()}
	req.ts, _ = strconv.ParseInt(r.URL.Query().Get("ts"), 10, 64)
	req.known = r.URL.Query().Get("org.trestle.known")
	if req.user == "" {
		req.user = "@" + Sender + ":" + ServerName
	}
	for _, segment := range strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/_matrix/client/"), "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			h.t.Errorf("path %q: %v", r.URL.EscapedPath(), err)
		}
		req.path = append(req.path, plain)
	}
	if req.is("v3/rooms/*/state/*") {
		req.path = append(req.path, "")
	}
	if req.is("v1/media/download/*/*") {
		h.download(w, r, req)
		return
	}
	_ = json.NewDecoder(r.Body).Decode(&req.body)
	answer, err := any(struct{}{}), error(nil)
	if r.Header.Get("Authorization") != "Bearer "+ASToken {
		err = failure{http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "wrong token"}
	} else {
		answer, err = h.operation(r.Method, req)
	}
	if h.fails > 0 {
		h.fails--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if f, ok := err.(failure); ok {
		w.WriteHeader(f.status)
		answer = map[string]string{"errcode": f.code, "error": f.text}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (h *Homeserver) operation(method string, r *request) (any, error) {
	switch {
	case r.is("v3/register"):
		user := "@" + r.text("username") + ":" + ServerName
		if _, taken := h.users[user]; taken {
			return nil, failure{400, "M_USER_IN_USE", "taken"}
		}
		h.users[user], h.ghosts[user] = "", true
		return map[string]string{"user_id": user}, nil
	case r.is("v3/createRoom"):
		return h.create(r)
	case r.is("v3/directory/room/*"):
		return h.directory(method, r)
	case r.is("versions"):
		return h.versions(), nil
	}
	if _, exists := h.users[r.user]; !exists {
		return nil, failure{403, "M_FORBIDDEN", "no such user " + r.user}
	}
	switch {
	case r.is("v3/profile/*/displayname"):
		h.users[r.path[2]] = r.text("displayname")
		return struct{}{}, nil
	case r.is("v3/rooms/*/join"):
		if err := h.mayJoin(r.path[2], r.user); err != nil {
			return nil, err
		}
		if h.membership(r.path[2], r.user) != "join" {
			h.setMembership(r.path[2], r.user, r.user, "join", "")
		}
		return map[string]string{"room_id": r.path[2]}, nil
	case r.is("v3/rooms/*/leave"):
		h.setMembership(r.path[2], r.user, r.user, "leave", r.text("reason"))
		return struct{}{}, nil
	case r.is("v3/rooms/*/kick") && h.unkickable[r.path[2]]:
		return nil, failure{403, "M_FORBIDDEN", "you may not kick"}
	case r.is("v3/rooms/*/kick"):
		h.setMembership(r.path[2], r.user, r.text("user_id"), "leave", r.text("reason"))
		return struct{}{}, nil
	case r.is("v3/rooms/*/invite"):
		h.setMembership(r.path[2], r.user, r.text("user_id"), "invite", "")
		return struct{}{}, nil
	case r.is("v3/rooms/*/messages"):
		return h.messages(r), nil
	case r.is("v3/rooms/*/aliases"):
		return map[string][]string{"aliases": h.aliasesOf(r.path[2])}, nil
	case r.is("v3/rooms/*/joined_members"):
		return h.joinedMembers(r.path[2]), nil
	case r.is("v3/rooms/*/send/*/*"):
		return h.send(r)
	case r.is("unstable/org.trestle.ordered/rooms/*/send"):
		return h.ordered(r)
	case r.is("v3/rooms/*/state/*/*"):
		return h.state(method, r)
	case r.is("v3/rooms/*/event/*"):
		return h.event(r)
	case r.is("v3/rooms/*/typing/*"):
		h.typing(r)
		return struct{}{}, nil
	}
	if r.is("v3/rooms/*/redact/*/*") && h.locked[r.path[2]] {
		return nil, failure{403, "M_FORBIDDEN", "you may not redact"}
	}
	if answer, known := h.moderation(method, r); known {
		return answer, nil
	}
	h.t.Errorf("the homeserver of the test has no %s %s", method, strings.Join(r.path, "/"))
	return nil, failure{404, "M_UNRECOGNIZED", "not here"}
}

func (h *Homeserver) create(r *request) (any, error) {
	alias := ""
	if name := r.text("room_alias_name"); name != "" {
		alias = "#" + name + ":" + ServerName
	}
	if alias != "" && h.aliases[alias] != "" {
		return nil, failure{400, "M_ROOM_IN_USE", "taken"}
	}
	h.next++
	room := fmt.Sprintf("!room%d:%s", h.next, ServerName)
	if alias != "" {
		h.aliases[alias] = room
	}
	empty := ""
	add := func(eventType string, content map[string]any) {
		raw, _ := json.Marshal(content)
		h.add(Event{Room: room, Sender: r.user, Type: eventType, StateKey: &empty, Content: raw})
	}
	add("m.room.create", map[string]any{"creator": r.user})
	h.setMembership(room, r.user, r.user, "join", "")
	add("m.room.power_levels", map[string]any{"users": map[string]int{r.user: 100}, "events": map[string]int{}})
	add("m.room.join_rules", map[string]any{"join_rule": "public"})
	h.listed[room] = r.text("visibility") == "public"
	add("m.room.canonical_alias", map[string]any{"alias": alias})
	add("m.room.name", map[string]any{"name": r.text("name")})
	add("m.room.topic", map[string]any{"topic": r.text("topic")})
	initial, _ := r.body["initial_state"].([]any)
	for _, each := range initial {
		state := each.(map[string]any)
		raw, _ := json.Marshal(state["content"])
		stateKey, _ := state["state_key"].(string)
		h.add(Event{Room: room, Sender: r.user, Type: state["type"].(string), StateKey: &stateKey, Content: raw})
	}
	invited, _ := r.body["invite"].([]any)
	for _, user := range invited {
		h.setMembership(room, r.user, user.(string), "invite", "")
	}
	if h.failCreation {
		h.failCreation = false
		return nil, failure{500, "M_UNKNOWN", "out of luck"}
	}
	return map[string]string{"room_id": room}, nil
}

// newcomer tells whether somebody came in after the event that the bridge knows.
func (h *Homeserver) newcomer(r *request) error {
	for _, e := range slices.Backward(h.rooms[r.path[2]]) {
		switch {
		case r.known == "" || e.ID == r.known:
			return nil
		case e.Type == "m.room.member" && e.Membership() == "join" && !h.ghosts[*e.StateKey]:
			return failure{409, "ORG.TRESTLE.NEWCOMER", *e.StateKey + " has come"}
		}
	}
	return nil
}

func (h *Homeserver) joinedMembers(room string) any {
	joined := map[string]any{}
	for _, e := range h.rooms[room] {
		if e.Type != "m.room.member" {
			continue
		}
		if delete(joined, *e.StateKey); e.Membership() == "join" {
			joined[*e.StateKey] = map[string]string{"display_name": e.text("displayname")}
		}
	}
	return map[string]any{"joined": joined}
}

func (h *Homeserver) directory(method string, r *request) (any, error) {
	room, known := h.aliases[r.path[3]]
	switch {
	case method == http.MethodGet && known:
		return map[string]any{"room_id": room, "servers": []string{ServerName}}, nil
	case method == http.MethodGet:
		return nil, failure{404, "M_NOT_FOUND", "no such alias"}
	case method == http.MethodDelete:
		delete(h.aliases, r.path[3])
		return struct{}{}, nil
	case known:
		return nil, failure{409, "M_UNKNOWN", "taken"}
	}
	h.aliases[r.path[3]] = r.text("room_id")
	return struct{}{}, nil
}

func (h *Homeserver) send(r *request) (any, error) {
	key := r.user + " " + r.path[2] + " " + r.path[5]
	id, repeated := h.sent[key]
	if !repeated {
		if err := h.newcomer(r); err != nil {
			return nil, err
		}
		if h.membership(r.path[2], r.user) != "join" {
			return nil, failure{403, "M_FORBIDDEN", r.user + " is not in the room"}
		}
		if h.closed[r.path[2]] && h.ghosts[r.user] && r.user != "@"+Sender+":"+ServerName {
			return nil, failure{403, "M_FORBIDDEN", "you may not speak"}
		}
		raw, _ := json.Marshal(r.body)
		id = h.add(Event{Room: r.path[2], Sender: r.user, Type: r.path[4], Content: raw, Time: r.ts})
		h.sent[key] = id
	}
	return map[string]string{"event_id": id}, nil
}

func (h *Homeserver) state(method string, r *request) (any, error) {
	if method == http.MethodGet {
		for _, e := range h.allState(r.path[2]) {
			if e.Type == r.path[4] && *e.StateKey == r.path[5] {
				return e.Content, nil
			}
		}
		return nil, failure{404, "M_NOT_FOUND", "no such state"}
	}
	if err := h.newcomer(r); err != nil {
		return nil, err
	}
	raw, _ := json.Marshal(r.body)
	key := r.path[5]
	at := r.ts
	if at == 0 {
		at = time.Now().UnixMilli()
	}
	e := Event{Room: r.path[2], Sender: r.user, Type: r.path[4], StateKey: &key, Content: raw, Time: at}
	if is, ok := h.current[e.place()]; ok && is.Sender == e.Sender && bytes.Equal(is.Content, raw) {
		return map[string]string{"event_id": is.ID}, nil // what is so already is no event, as on other homeservers
	}
	id := h.add(e)
	return map[string]string{"event_id": id}, nil
}
