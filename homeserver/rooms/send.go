package rooms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A SendRequest is an event that a client or an application service sends.
type SendRequest struct {
	Room     matrix.RoomID
	Sender   matrix.UserID
	Type     string
	StateKey *string // nil for a message
	Content  json.RawMessage
	Redacts  matrix.EventID
	// TxnKey makes repeats of the request find the event that the first made;
	// it holds whatever scopes a transaction ID. Empty for none.
	TxnKey string
	// AppService is the ID of the application service that acts as the sender.
	AppService string
	Guest      bool // the sender is a guest
	// Known is an event of the room up to which the application service knows who
	// has come; if somebody has since, the event is refused. Empty: that does not matter.
	Known matrix.EventID
	// Timestamp is the origin_server_ts that an application service asks for,
	// in milliseconds; 0 is now.
	Timestamp int64
}

// Send adds an event to a room. Errors: M_FORBIDDEN by the room's rules,
// M_BAD_JSON, M_TOO_LARGE, M_DUPLICATE_ANNOTATION, ORG.TRESTLE.NEWCOMER; M_BAD_ALIAS and M_INVALID_PARAM for a canonical alias.
func (s *Service) Send(ctx context.Context, req SendRequest) (matrix.EventID, error) {
	info, err := s.known(ctx, req.Room)
	if err != nil {
		return "", err
	}
	if err := req.checkTxn(); err != nil {
		return "", err
	}
	if target, ok := s.invitesAbroad(req); ok {
		return s.inviteByState(ctx, info, req, target)
	}
	return s.unlessRepeated(ctx, info, req, func() (matrix.EventID, error) {
		sent, err := s.sendGroup(ctx, info, []SendRequest{req}, group{})
		if err != nil {
			return "", err
		}
		return sent[0].ID, sent[0].Err
	})
}

func (req SendRequest) checkTxn() error {
	if strings.IndexByte(req.TxnKey, 0) >= 0 {
		return matrix.InvalidParam("A transaction ID has no NUL.")
	}
	return nil
}

// A plan is how a request becomes an event.
type plan struct {
	req SendRequest
	// id is that of the event which the same request made before; then nothing is left to do.
	id matrix.EventID
	// fill adds the event to a draft, or says why not: errSame if there is nothing to add.
	fill func(*draft) error
	// then follows once the event is there; same tells that it was there before. It may be nil.
	then func(ctx context.Context, same bool) error
}

// prepare makes sure of what can be known before the room's lock is taken.
func (s *Service) prepare(ctx context.Context, info *storage.RoomInfo, req SendRequest) (p plan, err error) {
	switch {
	case req.StateKey != nil:
		return s.planState(ctx, info, req)
	case req.Type == "m.room.redaction":
		return s.planRedaction(ctx, info, req)
	}
	check, err := s.relationCheck(ctx, info, req)
	return plan{req: req, fill: func(d *draft) error { return d.send(req, check) }}, err
}

// commit adds an event that needs no plan.
func (s *Service) commit(ctx context.Context, info *storage.RoomInfo, req SendRequest) error {
	_, err := s.update(ctx, info.NID, func(d *draft) error { return d.send(req, nil) })
	return err
}

// send adds the requested event after check, which may be nil, agrees.
func (d *draft) send(req SendRequest, check func(*draft) error) error {
	if check != nil {
		if err := check(d); err != nil {
			return err
		}
	}
	if err := d.refuseNewcomers(req); err != nil {
		return err
	}
	_, err := d.add(req.proposal())
	if req.StateKey != nil && req.Type == "m.room.member" {
		d.arrives(req.AppService)
	}
	return err
}

func (req SendRequest) proposal() proposal {
	return proposal{
		Sender: req.Sender, Type: req.Type, StateKey: req.StateKey, Content: req.Content, Redacts: req.Redacts,
		Timestamp: req.Timestamp, TxnKey: req.TxnKey,
	}
}

// errSame ends a draft because the state already is what was asked for.
type errSame struct{ id matrix.EventID }

func (errSame) Error() string { return "the state is that already" }

func (s *Service) planState(ctx context.Context, info *storage.RoomInfo, req SendRequest) (p plan, err error) {
	switch req.Type {
	case "m.room.canonical_alias":
		err = s.checkCanonicalAlias(ctx, info, req)
	case "m.room.create":
		err = matrix.Forbidden("A room is created once.")
	case "m.room.member":
		err = s.checkMemberState(ctx, info, &req)
	case "m.room.tombstone":
		err = checkTombstone(info, req)
	}
	if err != nil {
		return p, err
	}
	canonical, err := matrix.CanonicalJSON(req.Content)
	if err != nil {
		return p, matrix.BadJSON("The content is not what Matrix allows: %v.", err)
	}
	comes := false
	p = plan{req: req, fill: func(d *draft) (err error) {
		if comes, err = d.comes(req); err != nil {
			return err
		}
		changed := req // by authorise, at each attempt anew
		if err := d.checkState(&changed, canonical); err != nil {
			return err
		}
		return d.send(changed, nil)
	}}
	switch {
	case req.Type == "m.room.member":
		p.then = func(ctx context.Context, same bool) error {
			if same || !comes {
				return nil
			}
			return s.follow(ctx, info, req.Sender)
		}
	case *req.StateKey != "":
	case req.Type == "m.room.tombstone":
		p.then = func(ctx context.Context, same bool) error {
			if same {
				return nil
			}
			return s.replaced(ctx, info, canonical)
		}
	case req.Type == "m.room.guest_access":
		// Again, if a repeat asks for it: the first may have been cut off.
		p.then = func(ctx context.Context, _ bool) error { return s.dismissGuests(ctx, info) }
	}
	return p, nil
}

// comes reports whether a member event takes its sender into the room.
func (d *draft) comes(req SendRequest) (bool, error) {
	if req.Type != "m.room.member" || *req.StateKey != string(req.Sender) {
		return false, nil
	}
	var content struct {
		Membership string `json:"membership"`
	}
	if json.Unmarshal(req.Content, &content) != nil || content.Membership != "join" {
		return false, nil
	}
	was, err := d.membership(req.Sender)
	return was != "join", err
}

// checkState is errSame if the state already is as requested.
func (d *draft) checkState(req *SendRequest, canonical []byte) error {
	if err := d.authorise(req); err != nil {
		return err
	}
	if err := d.checkCreators(req); err != nil {
		return err
	}
	before, err := d.state(req.Type, *req.StateKey)
	if err != nil {
		return err
	}
	if before == nil || before.Sender != req.Sender || !bytes.Equal(before.Content, canonical) {
		return nil
	}
	own, err := d.membership(req.Sender)
	if err == nil && (own == "join" || req.Type == "m.room.member") {
		err = errSame{before.ID}
	}
	return err
}

// planRedaction adds a redaction and applies it to its target.
func (s *Service) planRedaction(ctx context.Context, info *storage.RoomInfo, req SendRequest) (p plan, err error) {
	if req.Redacts == "" {
		var content struct {
			Redacts string `json:"redacts"`
		}
		if json.Unmarshal(req.Content, &content) != nil || content.Redacts == "" {
			return p, matrix.BadJSON("A redaction names the event that it redacts in content.redacts.")
		}
		target, err := matrix.ParseEventID(content.Redacts)
		if err != nil {
			return p, matrix.InvalidParam("%v.", err)
		}
		req.Redacts = target
	}
	before, err := s.Head(ctx, info.NID)
	if err != nil {
		return p, err
	}
	p = plan{req: req, fill: func(d *draft) error { return d.redact(req) }}
	if before.Summary.GuestsCanJoin {
		p.then = func(ctx context.Context, _ bool) error { return s.dismissGuests(ctx, info) }
	}
	return p, nil
}

func (d *draft) redact(req SendRequest) error {
	target, err := d.s.store.Events.ByID(d.ctx, req.Redacts)
	if errors.Is(err, database.ErrNoRows) || err == nil && target.RoomNID != d.room.info.NID {
		return matrix.NotFound("Event %s is not known in this room.", req.Redacts)
	}
	if err != nil {
		return err
	}
	v := d.view()
	power := v.PowerLevels()
	if v.err != nil {
		return v.err
	}
	if target.Sender != req.Sender && power.User(req.Sender) < power.Redact() {
		return matrix.Forbidden("You may redact only your own events in this room.")
	}
	if target.Type == "m.room.create" {
		return matrix.Forbidden("The event that created the room stays.")
	}
	e, err := d.add(req.proposal())
	if err != nil || target.RedactedBy != 0 {
		return err
	}
	return d.strike(target, e)
}

// strike has the draft's last event redact another one.
func (d *draft) strike(target, by *storage.Event) error {
	e, err := target.Redact()
	if err != nil {
		return err
	}
	// Where a target stands that is on its way itself is known when it is stored, see writeStep.
	redacted := &storage.Event{
		Event: e, NID: target.NID, RoomNID: target.RoomNID, Root: target.Root, Branch: target.Branch, ReplacesNID: target.ReplacesNID,
		RedactedBy: by.NID, TxnKey: target.TxnKey, Verdict: target.Verdict,
	}
	st := &d.steps[len(d.steps)-1]
	st.target, st.redacted = target, redacted
	d.room.fly(redacted) // the next event is judged by what is left of it
	if target.IsState() {
		d.head.power = nil
		d.resummarize(target, redacted)
	}
	return nil
}

// resummarize takes what a redaction removed out of what directories show.
func (d *draft) resummarize(target, redacted *storage.Event) {
	current, err := d.state(target.Type, *target.StateKey)
	if err != nil || current == nil || current.NID != target.NID || target.Type == "m.room.member" {
		return
	}
	if summarize(&d.head.summary, storage.StateKey{Type: redacted.Type, Key: *redacted.StateKey}, redacted, "") {
		d.steps[len(d.steps)-1].newSummary = true
	}
}
