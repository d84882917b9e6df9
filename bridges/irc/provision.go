package irc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

const (
	provisionPath   = PublicPath + "v1/"
	maxProvision    = 16 << 10 // bytes of a request
	maxRemote       = 200      // bytes of a channel's name, or a key
	provisionAtOnce = 32       // requests; more are asked to come later
)

// provisioning is how programs and pages have rooms linked with channels: the same as by commands. Its
// paths and names are those that clients of other IRC bridges know.
func (s *Service) provisioning() http.Handler {
	busy := make(chan struct{}, provisionAtOnce)
	mux := http.NewServeMux()
	handle := func(pattern string, open bool, serve func(*http.Request, provisioner) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := s.provision(w, r, busy, open, serve)
			s.writeProvision(w, r, answer, err)
		})
	}
	handle("POST "+provisionPath+"exchange_openid", true, s.exchangeOpenID)
	handle("GET "+provisionPath+"session", false, s.showSession)
	handle("DELETE "+provisionPath+"session", false, s.endSession)
	handle("GET "+provisionPath+"querynetworks", false, s.queryNetworks)
	handle("GET "+provisionPath+"listlinks/{room}", false, s.listLinks)
	handle("POST "+provisionPath+"querylink", false, s.queryLink)
	handle("POST "+provisionPath+"link", false, s.requestLink)
	handle("GET "+provisionPath+"link/{id}", false, s.linkStatus)
	handle("POST "+provisionPath+"unlink", false, s.removeLink)
	mux.HandleFunc("OPTIONS "+provisionPath, func(w http.ResponseWriter, _ *http.Request) {
		allowOrigins(w.Header())
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeProvision(w, r, nil, matrix.Unrecognized("There is nothing at %s %.200s.", r.Method, r.URL.Path))
	})
	return mux
}

// allowOrigins lets pages of anybody ask: who they ask for is said by a token that only the user can give
// them, never by a cookie.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Max-Age", "86400")
}

// provision finds out who asks, and answers.
func (s *Service) provision(w http.ResponseWriter, r *http.Request, busy chan struct{}, open bool, serve func(*http.Request, provisioner) (any, error)) (any, error) {
	select {
	case busy <- struct{}{}:
		defer func() { <-busy }()
	default:
		return nil, matrix.LimitExceeded(plumbPace / 60)
	}
	var who provisioner
	if !open {
		var err error
		if who, err = s.whoProvisions(r); err != nil {
			return nil, err
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxProvision)
	return serve(r, who)
}

func (s *Service) writeProvision(w http.ResponseWriter, r *http.Request, answer any, err error) {
	h := w.Header()
	allowOrigins(h)
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	status := http.StatusOK
	if err != nil {
		known, ok := errors.AsType[*matrix.Error](err)
		if !ok {
			if r.Context().Err() == nil {
				s.log.Error("a request about links failed", "path", r.URL.Path, "err", err)
			}
			known = matrix.Unknown()
		}
		status, answer = known.Status, known
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// A linkRequest is what requests about a link may say.
type linkRequest struct {
	Room     matrix.RoomID `json:"matrix_room_id"`
	Channel  string        `json:"remote_room_channel"`
	Network  string        `json:"remote_room_server"`
	Operator string        `json:"op_nick"`
	Key      string        `json:"key"`
	User     matrix.UserID `json:"user_id"`
}

// readLink reads and checks a request; who it is for is the user of the session, or of the body if the caller may say so.
func (s *Service) readLink(r *http.Request, who *provisioner) (q linkRequest, n *network, err error) {
	if err := readJSON(r.Body, &q); err != nil {
		return q, nil, err
	}
	if who.anybody {
		who.user = q.User
		if _, err := matrix.ParseUserID(string(q.User)); q.User != "" && err != nil {
			return q, nil, matrix.InvalidParam("user_id is not a user ID.")
		}
	}
	if n = s.network(q.Network); n == nil {
		return q, nil, matrix.NewError(404, codeUnknownNetwork, "The bridge has no network %.100q.", q.Network)
	}
	if q.Channel == "" || len(q.Channel) > maxRemote || strings.ContainsAny(q.Channel, " ,\a\r\n\x00") {
		return q, nil, matrix.InvalidParam("remote_room_channel is not a channel.")
	}
	if len(q.Key) > maxRemote || strings.ContainsFunc(q.Key, func(c rune) bool { return c <= ' ' || c == ',' || c == 0x7f }) || strings.HasPrefix(q.Key, ":") {
		return q, nil, matrix.InvalidParam("key is not a channel's key.")
	}
	return q, n, nil
}

func readJSON(body io.Reader, into any) error {
	raw, err := io.ReadAll(body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return matrix.TooLarge("The request is larger than %d bytes.", tooLarge.Limit)
	}
	if err != nil || !json.Valid(raw) {
		return matrix.NotJSON("The body is not JSON.")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return matrix.BadJSON("The body is of another shape.")
	}
	return nil
}

func checkRoom(room matrix.RoomID) error {
	if _, err := matrix.ParseRoomID(string(room)); err != nil {
		return matrix.InvalidParam("matrix_room_id is not a room ID.")
	}
	return nil
}

func (s *Service) queryNetworks(*http.Request, provisioner) (any, error) {
	type fields struct {
		Domain string `json:"domain"`
	}
	type server struct {
		Bot       matrix.UserID `json:"bot_user_id"`
		Name      string        `json:"desc"`
		NetworkID string        `json:"network_id"`
		Fields    fields        `json:"fields"`
		Plumbing  bool          `json:"plumbing"`
		Portals   bool          `json:"portals"`
	}
	servers := []server{}
	for _, n := range s.all() {
		servers = append(servers, server{s.bridge.Client().Bot().ID, n.now().Name, n.config.ID, fields{n.config.ID}, !n.now().NoPlumbing, !n.now().NoPortals})
	}
	return map[string]any{"servers": servers}, nil
}

// A shownLink is a link, or the wish for one, as the API tells it.
type shownLink struct {
	ID      string        `json:"request_id"`
	State   string        `json:"state"`
	Room    matrix.RoomID `json:"matrix_room_id"`
	Channel string        `json:"remote_room_channel"`
	Network string        `json:"remote_room_server"`
	AskedBy matrix.UserID `json:"requested_by,omitempty"`
	Granted string        `json:"consent_by,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Until   int64         `json:"expires_ts,omitempty"` // of what is asked
	Since   int64         `json:"since_ts"`
}

func (p plumb) show() shownLink {
	l := shownLink{p.ID, p.State, p.Room, decode(string(p.Name)), p.Network, p.AskedBy, p.grantedBy(), p.Reason, 0, p.Since}
	if p.State == plumbAsked {
		l.Until = p.Until
	}
	return l
}

// listLinks lists the links of a room, and the wishes, for somebody who is in it.
func (s *Service) listLinks(r *http.Request, who provisioner) (any, error) {
	room := matrix.RoomID(r.PathValue("room"))
	if err := checkRoom(room); err != nil {
		return nil, err
	}
	if err := s.mayLook(r.Context(), who, room); err != nil {
		return nil, err
	}
	links := []shownLink{}
	for _, one := range s.plumbs.find(func(one plumb) bool { return one.Room == room }) {
		links = append(links, one.show())
	}
	slices.SortFunc(links, func(a, b shownLink) int { return int(b.Since - a.Since) })
	return links, nil
}

// mayLook makes sure that somebody is in a room.
func (s *Service) mayLook(ctx context.Context, who provisioner, room matrix.RoomID) error {
	if who.anybody {
		return nil
	}
	raw, err := s.bridge.Client().Bot().State(ctx, room, "m.room.member", string(who.user))
	var is struct {
		Membership string `json:"membership"`
	}
	switch {
	case client.Is(err, "M_FORBIDDEN"):
		return matrix.Forbidden("I am not in the room. Invite %s there first.", s.bridge.Client().Bot().ID)
	case err != nil && !client.Is(err, "M_NOT_FOUND"):
		return err
	}
	if _ = json.Unmarshal(raw, &is); is.Membership != "join" {
		return matrix.Forbidden("You are not in the room.")
	}
	return nil
}

// queryLink tells who could agree to a link with a channel.
func (s *Service) queryLink(r *http.Request, who provisioner) (any, error) {
	q, n, err := s.readLink(r, &who)
	if err != nil {
		return nil, err
	}
	if n.now().NoPlumbing {
		return nil, matrix.Forbidden("Rooms cannot be linked with channels of %s.", n.now().Name)
	}
	if who.user != "" && !s.plumbs.take(who.user) {
		return nil, matrix.LimitExceeded(plumbPace)
	}
	nicks, err := n.queryOperators(r.Context(), who, q.Channel, q.Key)
	if err != nil {
		return nil, unknownChannel(err)
	}
	operators := []string{}
	for _, nick := range nicks[:min(len(nicks), 100)] {
		operators = append(operators, decode(nick))
	}
	return map[string]any{"operators": operators}, nil
}

func (s *Service) requestLink(r *http.Request, who provisioner) (any, error) {
	q, n, err := s.readLink(r, &who)
	if err == nil {
		err = checkRoom(q.Room)
	}
	if err != nil {
		return nil, err
	}
	if who.user == "" {
		return nil, matrix.MissingParam("user_id is missing: on whose behalf the room is to be linked.")
	}
	one, err := s.plumb(r.Context(), plumbWish{
		by: who.user, room: string(q.Room), network: n, channel: q.Channel, key: q.Key, operator: q.Operator,
	})
	if err != nil {
		return nil, err
	}
	return one.show(), nil
}

// linkStatus tells what has become of a wish.
func (s *Service) linkStatus(r *http.Request, who provisioner) (any, error) {
	one, ok := s.plumbs.get(r.PathValue("id"))
	if !ok || !who.anybody && one.AskedBy != who.user {
		return nil, matrix.NotFound("There is no such request, or it is not yours.")
	}
	return one.show(), nil
}

func (s *Service) removeLink(r *http.Request, who provisioner) (any, error) {
	q, n, err := s.readLink(r, &who)
	if err == nil {
		err = checkRoom(q.Room)
	}
	if err != nil {
		return nil, err
	}
	one, ok := s.plumbs.ofRoom(q.Room)
	if !ok || one.key() != (bridge.Key{Network: n.config.ID, Channel: n.fold(q.Channel)}) {
		return nil, matrix.NotFound("The room is not linked with that channel.")
	}
	if who.anybody && who.user == "" {
		return struct{}{}, n.unlink(r.Context(), one, "An operator of the bridge has ended the link with "+decode(string(one.Name))+".")
	}
	_, err = s.unlinkBy(r.Context(), who.user, q.Room)
	return struct{}{}, err
}

// queryOperators is operatorsOf for a channel in which the bot need not be yet. Whom IRC would not let in is not told who is
// there.
func (n *network) queryOperators(ctx context.Context, who provisioner, channel, key string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	closed := false
	n.ask(ctx, func() {
		ch := n.known(channel)
		closed = ch != nil && ch.portal != nil && !who.anybody && n.closedTo(ch.portal, key) && !ch.in(who.user)
	})
	if closed {
		return nil, closedError(channel)
	}
	if _, err := n.enterChannel(ctx, channel, key); err != nil {
		return nil, err
	}
	defer n.post(func() { n.abandon(channel) })
	return n.operatorsOf(ctx, channel), nil
}
