package federation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	gmsl "github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"trestle/internal/testkit"
)

// A resident is a server with a room, made of another homeserver's library (gomatrixserverlib), which judges what
// it is asked and makes what it answers.
type resident struct {
	t       *testing.T
	w       *world
	p       *peer
	version gmsl.IRoomVersion
	room    spec.RoomID
	state   []gmsl.PDU
	message gmsl.PDU
	rule    string // the room's join rule

	mu   sync.Mutex
	seen []gmsl.PDU // what was sent
}

func newResident(w *world, version, rule string) *resident {
	impl, err := gmsl.GetRoomVersion(gmsl.RoomVersion(version))
	if err != nil {
		w.t.Fatal(err)
	}
	r := &resident{t: w.t, w: w, p: w.peer(nil), version: impl, rule: rule}
	keys := keysOf(w.t, r.p.name, w.now.Add(time.Hour), nil, r.p.key)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_matrix/key/v2/server", answers(200, keys))
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /_matrix/federation/v1/make_join/{room}/{user}":    r.makeJoin,
		"PUT /_matrix/federation/v2/send_join/{room}/{event}":   r.sendJoin,
		"GET /_matrix/federation/v1/make_leave/{room}/{user}":   r.makeLeave,
		"PUT /_matrix/federation/v2/send_leave/{room}/{event}":  r.sendLeave,
		"GET /_matrix/federation/v1/make_knock/{room}/{user}":   r.makeKnock,
		"PUT /_matrix/federation/v1/send_knock/{room}/{event}":  r.sendKnock,
		"PUT /_matrix/federation/v2/invite/{room}/{event}":      r.invite,
		"GET /_matrix/federation/v1/event/{event}":              r.event,
		"GET /_matrix/federation/v1/event_auth/{room}/{event}":  r.eventAuth,
		"GET /_matrix/federation/v1/state/{room}":               r.stateAt,
		"GET /_matrix/federation/v1/state_ids/{room}":           r.stateIDs,
		"GET /_matrix/federation/v1/backfill/{room}":            r.backfill,
		"POST /_matrix/federation/v1/get_missing_events/{room}": r.missing,
		"GET /_matrix/federation/v1/timestamp_to_event/{room}":  r.timestamp,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, request *http.Request) {
			said, err := answer(request)
			if err != nil {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				_ = json.NewEncoder(w).Encode(map[string]string{"errcode": "M_FORBIDDEN", "error": err.Error()})
				return
			}
			raw, err := json.Marshal(said)
			if err != nil {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			answers(200, string(raw))(w, request)
		})
	}
	r.p.set(testkit.SpecServer(w.t, mux).ServeHTTP)
	r.populate()
	return r
}

func (r *resident) creator() string { return "@creator:" + string(r.p.name) }

// populate makes the room.
func (r *resident) populate() {
	create := object{"room_version": r.version.Version()}
	if !slices.Contains([]string{"11", "12"}, string(r.version.Version())) {
		create["creator"] = r.creator()
	}
	r.add("m.room.create", "", create)
	if r.version.DomainlessRoomIDs() {
		r.room = r.state[0].RoomID()
	}
	r.add("m.room.member", r.creator(), object{"membership": "join"})
	levels := object{"invite": 0}
	if !r.version.PrivilegedCreators() {
		levels["users"] = object{r.creator(): 100}
	}
	r.add("m.room.power_levels", "", levels)
	rules := object{"join_rule": r.rule}
	if r.rule == "restricted" {
		rules["allow"] = []any{object{"type": "m.room_membership", "room_id": "!other:" + string(r.p.name)}}
	}
	r.add("m.room.join_rules", "", rules)
	r.message = r.build("m.room.message", nil, object{"body": "<é>&\u2028"}, r.state[len(r.state)-1])
}

func (r *resident) add(typ, stateKey string, content any) {
	var before gmsl.PDU
	if len(r.state) > 0 {
		before = r.state[len(r.state)-1]
	}
	r.state = append(r.state, r.build(typ, &stateKey, content, before))
}

func (r *resident) build(typ string, stateKey *string, content any, before gmsl.PDU) gmsl.PDU {
	r.t.Helper()
	b := r.version.NewEventBuilder()
	b.SenderID, b.Type, b.StateKey, b.Depth = r.creator(), typ, stateKey, int64(len(r.state)+1)
	if r.room.String() == "" && !r.version.DomainlessRoomIDs() {
		room, err := spec.NewRoomID("!room:" + string(r.p.name))
		if err != nil {
			r.t.Fatal(err)
		}
		r.room = *room
	}
	b.RoomID = r.room.String()
	if before != nil {
		b.PrevEvents = []string{before.EventID()}
	}
	if err := b.SetContent(content); err != nil {
		r.t.Fatal(err)
	}
	return r.finish(b)
}

// finish signs an event, with the events that allow it.
func (r *resident) finish(b *gmsl.EventBuilder) gmsl.PDU {
	r.t.Helper()
	provider, err := gmsl.NewAuthEvents(r.state)
	if err == nil {
		err = b.AddAuthEvents(provider)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := b.Build(r.w.now, spec.ServerName(r.p.name), gmsl.KeyID(r.p.key.ID), r.p.key.Private)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// template builds what another server proposes, as it builds its own events.
func (r *resident) template(proto *gmsl.ProtoEvent) (gmsl.PDU, []gmsl.PDU, error) {
	last := r.state[len(r.state)-1]
	proto.PrevEvents, proto.Depth = []string{last.EventID()}, last.Depth()+1
	b := r.version.NewEventBuilderFromProtoEvent(proto)
	e := r.finish(b)
	proto.AuthEvents = b.AuthEvents
	return e, r.state, nil
}

// proposal is an answer with a template, which the specification wants to have a time.
func (r *resident) proposal(proto gmsl.ProtoEvent) (any, error) {
	raw, err := json.Marshal(proto)
	if err != nil {
		return nil, err
	}
	event := object{"origin_server_ts": spec.AsTimestamp(r.w.now)}
	return object{"event": event, "room_version": r.version.Version()}, json.Unmarshal(raw, &event)
}

func userID(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
	return spec.NewUserID(string(sender), true)
}

func (r *resident) makeJoin(request *http.Request) (any, error) {
	user, err := spec.NewUserID(request.PathValue("user"), true)
	if err != nil {
		return nil, err
	}
	var versions []gmsl.RoomVersion
	for _, v := range request.URL.Query()["ver"] {
		versions = append(versions, gmsl.RoomVersion(v))
	}
	response, err := gmsl.HandleMakeJoin(gmsl.HandleMakeJoinInput{
		Context: request.Context(), UserID: *user, SenderID: spec.SenderID(user.String()), RoomID: r.room, RoomVersion: r.version.Version(),
		RemoteVersions: versions, RequestOrigin: spec.ServerName(here), LocalServerName: spec.ServerName(r.p.name), LocalServerInRoom: true,
		RoomQuerier: r, UserIDQuerier: userID, BuildEventTemplate: r.template,
	})
	if err != nil {
		return nil, err
	}
	return r.proposal(response.JoinTemplateEvent)
}

// CurrentStateEvent implements gmsl.RestrictedRoomJoinQuerier, and so do the next ones.
func (r *resident) CurrentStateEvent(_ context.Context, _ spec.RoomID, typ, stateKey string) (gmsl.PDU, error) {
	for _, e := range r.state {
		if e.Type() == typ && e.StateKeyEquals(stateKey) {
			return e, nil
		}
	}
	return nil, nil
}

func (r *resident) InvitePending(context.Context, spec.RoomID, spec.SenderID) (bool, error) {
	return false, nil
}

func (r *resident) RestrictedRoomJoinInfo(context.Context, spec.RoomID, spec.SenderID, spec.ServerName) (*gmsl.RestrictedRoomJoinInfo, error) {
	return &gmsl.RestrictedRoomJoinInfo{LocalServerInRoom: true, UserJoinedToRoom: true, JoinedUsers: r.state[1:2]}, nil
}

// CurrentMembership implements gmsl.MembershipQuerier.
func (r *resident) CurrentMembership(context.Context, spec.RoomID, spec.SenderID) (string, error) {
	return "leave", nil
}

// IsKnownRoom implements gmsl.RoomQuerier.
func (r *resident) IsKnownRoom(context.Context, spec.RoomID) (bool, error) { return false, nil }

// GetAuthEvents implements gmsl.StateQuerier, as does GetState.
func (r *resident) GetAuthEvents(context.Context, gmsl.PDU) (gmsl.AuthEventProvider, error) {
	return gmsl.NewAuthEvents(r.state)
}

func (r *resident) GetState(context.Context, spec.RoomID, []gmsl.StateKeyTuple) ([]gmsl.PDU, error) {
	return r.state, nil
}

// VerifyJSONs implements gmsl.JSONVerifier: it knows the key of the server that asks.
func (r *resident) VerifyJSONs(_ context.Context, requests []gmsl.VerifyJSONRequest) ([]gmsl.VerifyJSONResult, error) {
	results := make([]gmsl.VerifyJSONResult, len(requests))
	for i, q := range requests {
		results[i].Error = fmt.Errorf("the key of %s is not known", q.ServerName)
		if q.ServerName == spec.ServerName(here) {
			results[i].Error = gmsl.VerifyJSON(string(here), gmsl.KeyID(r.w.key.ID), r.w.key.Public(), q.Message)
		}
	}
	return results, nil
}

func (r *resident) sendJoin(request *http.Request) (any, error) {
	raw, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	response, err := gmsl.HandleSendJoin(gmsl.HandleSendJoinInput{
		Context: request.Context(), RoomID: r.room, EventID: request.PathValue("event"), JoinEvent: raw, RoomVersion: r.version.Version(),
		RequestOrigin: spec.ServerName(here), LocalServerName: spec.ServerName(r.p.name), KeyID: gmsl.KeyID(r.p.key.ID), PrivateKey: r.p.key.Private,
		Verifier: r, MembershipQuerier: r, UserIDQuerier: userID,
		StoreSenderIDFromPublicID: func(context.Context, spec.SenderID, string, spec.RoomID) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	if err := r.allowed(response.JoinEvent); err != nil {
		return nil, err
	}
	return object{
		"state": gmsl.NewEventJSONsFromEvents(r.state), "auth_chain": gmsl.NewEventJSONsFromEvents(r.state[:1]),
		"event": spec.RawJSON(response.JoinEvent.JSON()),
	}, nil
}

// allowed is what the library says about an event that was sent: whether its signatures are good, and the room allows it.
func (r *resident) allowed(e gmsl.PDU) error {
	provider, err := gmsl.NewAuthEvents(r.state)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.seen = append(r.seen, e)
	r.mu.Unlock()
	return gmsl.Allowed(e, provider, userID)
}

// sent is an event as it came, with a good signature.
func (r *resident) sent(request *http.Request) (gmsl.PDU, error) {
	raw, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	e, err := r.version.NewEventFromUntrustedJSON(raw)
	if err != nil {
		return nil, err
	}
	if e.EventID() != request.PathValue("event") || e.RoomID().String() != request.PathValue("room") {
		return nil, fmt.Errorf("it is %s of %s", e.EventID(), e.RoomID().String())
	}
	if err := gmsl.VerifyEventSignatures(request.Context(), e, r, userID); err != nil {
		return nil, err
	}
	return e, r.allowed(e)
}

func (r *resident) makeLeave(request *http.Request) (any, error) {
	user, err := spec.NewUserID(request.PathValue("user"), true)
	if err != nil {
		return nil, err
	}
	// Whoever was invited leaves: the room has to know that.
	defer func(state []gmsl.PDU) { r.state = state }(r.state)
	r.add("m.room.member", user.String(), object{"membership": "invite"})
	response, err := gmsl.HandleMakeLeave(gmsl.HandleMakeLeaveInput{
		UserID: *user, SenderID: spec.SenderID(user.String()), RoomID: r.room, RoomVersion: r.version.Version(), RequestOrigin: spec.ServerName(here),
		LocalServerName: spec.ServerName(r.p.name), LocalServerInRoom: true, UserIDQuerier: userID, BuildEventTemplate: r.template,
	})
	if err != nil {
		return nil, err
	}
	return r.proposal(response.LeaveTemplateEvent)
}

func (r *resident) sendLeave(request *http.Request) (any, error) {
	defer func(state []gmsl.PDU) { r.state = state }(r.state)
	r.add("m.room.member", "@user:"+string(here), object{"membership": "invite"})
	_, err := r.sent(request)
	return struct{}{}, err
}

func (r *resident) makeKnock(request *http.Request) (any, error) {
	user := request.PathValue("user")
	proto := gmsl.ProtoEvent{SenderID: user, RoomID: r.room.String(), Type: "m.room.member", StateKey: &user, Version: r.version}
	if err := proto.SetContent(gmsl.MemberContent{Membership: spec.Knock}); err != nil {
		return nil, err
	}
	if _, _, err := r.template(&proto); err != nil {
		return nil, err
	}
	return r.proposal(proto)
}

func (r *resident) sendKnock(request *http.Request) (any, error) {
	if _, err := r.sent(request); err != nil {
		return nil, err
	}
	if r.version.DomainlessRoomIDs() {
		// From version 1.16 of the specification on, whole events.
		return object{"knock_room_state": []any{json.RawMessage(r.state[0].JSON()), json.RawMessage(r.state[3].JSON())}}, nil
	}
	return object{"knock_room_state": []gmsl.InviteStrippedState{
		gmsl.NewInviteStrippedState(r.state[0]), gmsl.NewInviteStrippedState(r.state[3]),
	}}, nil
}

// invite is what the server of the invited user does: here that is the one with the room as well.
func (r *resident) invite(request *http.Request) (any, error) {
	var asked struct {
		Version gmsl.RoomVersion           `json:"room_version"`
		Event   json.RawMessage            `json:"event"`
		State   []gmsl.InviteStrippedState `json:"invite_room_state"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		return nil, err
	}
	if len(asked.State) != 1 || asked.State[0].Type() != "m.room.create" || asked.Version != r.version.Version() {
		return nil, fmt.Errorf("the room is described by %v", asked.State)
	}
	invite, err := r.version.NewEventFromUntrustedJSON(asked.Event)
	if err != nil {
		return nil, err
	}
	room, err := spec.NewRoomID(request.PathValue("room"))
	if err != nil {
		return nil, err
	}
	user := spec.NewUserIDOrPanic(*invite.StateKey(), true)
	signed, err := gmsl.HandleInvite(request.Context(), gmsl.HandleInviteInput{
		RoomID: *room, RoomVersion: asked.Version, InvitedUser: user, InvitedSenderID: spec.SenderID(user.String()),
		InviteEvent: invite, StrippedState: asked.State, KeyID: gmsl.KeyID(r.p.key.ID), PrivateKey: r.p.key.Private,
		Verifier: r, RoomQuerier: r, MembershipQuerier: r, StateQuerier: r, UserIDQuerier: userID,
	})
	if err != nil {
		return nil, err
	}
	return object{"event": spec.RawJSON(signed.JSON())}, nil
}

func (r *resident) transaction(events ...gmsl.PDU) gmsl.Transaction {
	t := gmsl.Transaction{Origin: spec.ServerName(r.p.name), OriginServerTS: spec.AsTimestamp(r.w.now)}
	for _, e := range events {
		t.PDUs = append(t.PDUs, e.JSON())
	}
	return t
}

func (r *resident) event(request *http.Request) (any, error) {
	for _, e := range append(r.state, r.message) {
		if e.EventID() == request.PathValue("event") {
			return r.transaction(e), nil
		}
	}
	return nil, fmt.Errorf("there is no %s", request.PathValue("event"))
}

func (r *resident) eventAuth(*http.Request) (any, error) {
	return object{"auth_chain": gmsl.NewEventJSONsFromEvents(r.state[:3])}, nil
}

func (r *resident) at(request *http.Request) error {
	if request.URL.Query().Get("event_id") != r.message.EventID() || request.PathValue("room") != r.room.String() {
		return fmt.Errorf("what was asked is %s", request.URL)
	}
	return nil
}

func (r *resident) stateAt(request *http.Request) (any, error) {
	return object{"pdus": gmsl.NewEventJSONsFromEvents(r.state), "auth_chain": gmsl.NewEventJSONsFromEvents(r.state[:2])}, r.at(request)
}

func (r *resident) stateIDs(request *http.Request) (any, error) {
	var ids []string
	for _, e := range r.state {
		ids = append(ids, e.EventID())
	}
	return object{"pdu_ids": ids, "auth_chain_ids": ids[:2]}, r.at(request)
}

func (r *resident) backfill(request *http.Request) (any, error) {
	if query := request.URL.Query(); query.Get("limit") != "5" || !slices.Equal(query["v"], []string{r.message.EventID(), r.state[0].EventID()}) {
		return nil, fmt.Errorf("what was asked is %s", request.URL)
	}
	return r.transaction(r.message, r.state[3], r.state[2]), nil
}

func (r *resident) missing(request *http.Request) (any, error) {
	var asked struct {
		Limit    int      `json:"limit"`
		MinDepth int      `json:"min_depth"`
		Earliest []string `json:"earliest_events"`
		Latest   []string `json:"latest_events"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		return nil, err
	}
	if asked.Limit != 7 || asked.MinDepth != 2 || !slices.Equal(asked.Earliest, []string{r.state[0].EventID()}) || !slices.Equal(asked.Latest, []string{r.message.EventID()}) {
		return nil, fmt.Errorf("what was asked is %+v", asked)
	}
	return object{"events": gmsl.NewEventJSONsFromEvents(r.state[2:])}, nil
}

func (r *resident) timestamp(request *http.Request) (any, error) {
	if query := request.URL.Query(); query.Get("dir") != "b" || query.Get("ts") != fmt.Sprint(r.w.now.UnixMilli()+5) {
		return nil, fmt.Errorf("what was asked is %s", request.URL)
	}
	return object{"event_id": r.message.EventID(), "origin_server_ts": r.message.OriginServerTS()}, nil
}
