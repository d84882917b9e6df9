package rooms

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// orderedLooks looks for the events that the steps of an ordered request have made before. It is the service that
// repeats a request, whoever the senders are: one that has not for its last steps goes ahead (see [repeats]).
type orderedLooks struct {
	service *Service
	who     matrix.UserID
	looked  bool // all messages are looked for
}

func (s *Service) repeatsOf(reqs []SendRequest) *orderedLooks {
	l := &orderedLooks{service: s}
	if len(reqs) > 0 {
		l.who = matrix.UserID("service " + reqs[0].AppService) // no user is called that
	}
	l.looked = s.repeats.likely(l.who)
	return l
}

// doubt has all be looked for: the database has one of them.
func (l *orderedLooks) doubt() {
	if !l.looked {
		l.looked = true
		l.service.repeats.doubt(l.who)
	}
}

// first is the event that a step made before, as far as that has to be known beforehand, or empty.
func (l *orderedLooks) first(ctx context.Context, info *storage.RoomInfo, req SendRequest) (matrix.EventID, error) {
	if err := req.checkTxn(); err != nil || req.TxnKey == "" {
		return "", err
	}
	if id, err := l.service.remembered(info, req); id != "" || err != nil || req.plain() && !l.looked {
		return id, err
	}
	return l.look(ctx, info, req)
}

func (l *orderedLooks) look(ctx context.Context, info *storage.RoomInfo, req SendRequest) (matrix.EventID, error) {
	id, err := l.service.stored(ctx, info, req)
	if err == nil {
		l.service.repeats.looked(l.who, id != "")
	}
	return id, err
}

// refused looks for steps that went ahead and were refused: what has happened since they were first carried
// out may be why.
func (l *orderedLooks) refused(ctx context.Context, info *storage.RoomInfo, outcomes []outcome) error {
	for i := range outcomes {
		o := &outcomes[i]
		if req := o.plan.req; l.looked || o.refused == nil || req.TxnKey == "" || req.checkTxn() != nil {
			continue
		}
		id, err := l.look(ctx, info, o.plan.req)
		if err != nil {
			return err
		}
		if id != "" {
			o.id, o.refused = id, nil
			l.doubt()
		}
	}
	return nil
}
