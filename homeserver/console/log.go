package console

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"trestle/homeserver/ledger"
)

const (
	// recentDeeds is how many are on the page of a service.
	recentDeeds = 5
	logPage     = 50
)

// A deed is what an operator has done, for people.
type deed struct {
	ledger.Deed
	What  string // the action
	Page  string // of the service, or nowhere if it is gone
	State string // a class of the style
	Ended string // how, in a word
	Error string // without secrets
	Now   time.Time
}

// deedWords are the actions in the past tense.
var deedWords = map[ledger.Action]string{
	ledger.Pause: "Paused", ledger.Resume: "Resumed", ledger.Retry: "Retried at once", ledger.Ping: "Pinged",
	ledger.Skip: "Skipped a transaction", ledger.SkipAll: "Skipped all that waited", ledger.Forget: "Forgot", ledger.Replay: "Sent a dead letter again", ledger.Discard: "Discarded a dead letter",
	ledger.Rotate: "Changed tokens", ledger.Add: "Registered", ledger.Remove: "Removed", ledger.Reload: "Read registrations again",
}

// deeds are what operators have done about a service, or all of them, the
// newest first, and the number from which on there are further ones, or 0.
func (a *consoleAPI) deeds(ctx context.Context, service string, from int64, limit int) (list []deed, more int64, err error) {
	found, err := a.Ledger.Deeds(ctx, service, from, limit+1)
	if err != nil {
		return nil, 0, err
	}
	if len(found) > limit {
		found = found[:limit]
		more = found[limit-1].Number
	}
	for _, f := range found {
		list = append(list, a.deed(f))
	}
	return list, more, nil
}

func (a *consoleAPI) deed(f ledger.Deed) deed {
	d := deed{Deed: f, What: deedWords[f.Action], Error: clip(a.hide(f.Service, f.Error), maxError), Now: a.now()}
	if f.Service != "" && a.Registry.Load().ByID(f.Service) != nil {
		d.Page = pageOf(servicePath, f.Service)
	}
	switch f.Outcome {
	case ledger.Done:
		d.State, d.Ended = "well", "Done"
	case ledger.Failed:
		d.State, d.Ended = "failing", "Failed"
	default:
		d.State, d.Ended = "silent", "Not known"
	}
	return d
}

// logView is a part of the record.
type logView struct {
	Service, Page string // Page is empty where the service is gone
	Deeds         []deed
	More          string // the next part, or nowhere
}

func (a *consoleAPI) showLog(ctx context.Context, v *visit) error {
	id := v.form.Get("id")
	from, err := strconv.ParseInt(v.form.Get("from"), 10, 64)
	if err != nil {
		from = 0
	}
	known := id == "" || a.Registry.Load().ByID(id) != nil
	list, more, err := a.deeds(ctx, id, from, logPage)
	if err != nil {
		return err
	}
	if len(list) == 0 && from == 0 && !known {
		return noService(id)
	}
	data := logView{Service: id, Deeds: list}
	if id != "" && known {
		data.Page = pageOf(servicePath, id)
	}
	if more > 0 {
		data.More = pageOf(logPath, id) + "&from=" + strconv.FormatInt(more, 10)
	}
	return a.show(v, http.StatusOK, "log", &view{Title: "What operators have done", Data: data})
}
