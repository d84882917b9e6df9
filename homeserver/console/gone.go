package console

import (
	"context"
	"time"

	"trestle/appservice"
)

// gone is what is kept of a service that is not registered any more.
type gone struct {
	appservice.Place
	Letters, Log string // pages
	Count        int    // of letters
	From         time.Time
	Now          time.Time
}

// gone is all of these.
func (a *consoleAPI) gone(ctx context.Context) (list []gone, err error) {
	places, err := a.Deliveries.Gone(ctx)
	for _, p := range places {
		list = append(list, gone{p, pageOf(lettersPath, p.Service), pageOf(logPath, p.Service), p.Letters, moment(p.Oldest), a.now()})
	}
	return list, err
}

// forget deletes what is kept of one.
func (a *consoleAPI) forget(ctx context.Context, v *visit) error {
	reason, err := graveReason(v)
	if err == nil {
		_, err = a.Ledger.Forget(ctx, v.session.User, v.form.Get("id"), reason)
	}
	if known := forPeople(err); known != nil {
		return a.showOverviewWith(ctx, v, mild(known.Status), "", clip(known.Message, maxError))
	}
	if err != nil {
		return err
	}
	return v.goTo(Root + "/?done=forget")
}
