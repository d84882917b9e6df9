package console

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// maxBody is how much of a transaction is shown, in bytes.
const maxBody = 256 << 10

// A body is what is inside of a transaction, for people.
type body struct {
	Text  string
	Whole bool
	Size  int
}

func newBody(raw []byte) body {
	text, whole := pretty(raw, maxBody)
	return body{text, whole, len(raw)}
}

// transactionView is the transaction that is sent or waits to be.
type transactionView struct {
	ID, Service, Page string // Page is the service's
	There             bool
	Events            int
	Oldest            time.Time
	Body              body
	Reason            string // typed before
	Now               time.Time
}

func pageOf(path, service string) string { return path + "?" + url.Values{"id": {service}}.Encode() }

// moment is a time of ms since 1970; 0 is none.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func (a *consoleAPI) showTransaction(ctx context.Context, v *visit) error {
	return a.showTransactionWith(ctx, v, http.StatusOK, "")
}

func (a *consoleAPI) showTransactionWith(ctx context.Context, v *visit, status int, problem string) error {
	id := v.form.Get("id")
	f, err := a.Deliveries.Frozen(ctx, id)
	t := transactionView{Service: id, Page: pageOf(servicePath, id), Now: a.now(), Reason: v.form.Get("reason")}
	switch {
	case a.Registry.Load().ByID(id) == nil:
		return noService(id)
	case err == nil:
		t.There, t.ID, t.Events, t.Oldest, t.Body = true, f.ID, f.Events, moment(f.Oldest), newBody(f.Body)
	case matrix.Code(err) != "M_NOT_FOUND" && matrix.Code(err) != "M_URL_NOT_SET":
		return err
	}
	return a.show(v, status, "transaction", &view{Title: "Transaction of " + id, Error: problem, Data: t})
}

// skip makes a dead letter of the transaction that was looked at.
func (a *consoleAPI) skip(ctx context.Context, v *visit) error {
	id, reason := v.form.Get("id"), strings.TrimSpace(v.form.Get("reason"))
	if reason == "" {
		return a.showTransactionWith(ctx, v, http.StatusBadRequest, "Say why, for whoever finds the dead letter.")
	}
	err := a.Ledger.Skip(ctx, v.session.User, id, v.form.Get("transaction"), reason)
	if known := forPeople(err); known != nil {
		return a.showTransactionWith(ctx, v, mild(known.Status), a.hide(id, known.Message))
	}
	if err != nil {
		return err
	}
	return v.goTo(servicePath + "?" + url.Values{"id": {id}, "done": {"skip"}}.Encode())
}

// lettersView is a part of the dead letters of a service or, without its name,
// of all, those that are gone too.
type lettersView struct {
	Service, Page string
	Letters       []letterView
	More          string // the next part, or nowhere
}

// A letterView is a dead letter.
type letterView struct {
	appservice.DeadLetter
	Page, Letters         string // of the letter, and of all
	Skipped, Failed, From time.Time
	Error                 string // without secrets
	Why                   string // typed before, to discard it
	Content               body
	Now                   time.Time
}

// A letter's SkippedAt and FailedAt are numbers; pages want times.
func (a *consoleAPI) letter(l appservice.DeadLetter) letterView {
	return letterView{
		DeadLetter: l, Page: letterPath + "?number=" + strconv.FormatInt(l.Number, 10), Letters: pageOf(lettersPath, l.Service),
		Skipped: moment(l.SkippedAt), Failed: moment(l.FailedAt), From: moment(l.Oldest),
		Error: clip(a.hide(l.Service, l.LastError), maxError), Now: a.now(),
	}
}

const lettersPage = 50

func (a *consoleAPI) showLetters(ctx context.Context, v *visit) error {
	id := v.form.Get("id")
	from, err := strconv.ParseInt(v.form.Get("from"), 10, 64)
	if err != nil {
		from = 0
	}
	list, err := a.Deliveries.DeadLetters(ctx, id, from, lettersPage+1)
	if err != nil {
		return err
	}
	if len(list) == 0 && id != "" && from == 0 && a.Registry.Load().ByID(id) == nil {
		return noService(id)
	}
	view := &view{Title: "Dead letters", Done: done(v.form)}
	letters := lettersView{Service: id, Page: pageOf(servicePath, id)}
	if len(list) > lettersPage {
		list = list[:lettersPage]
		letters.More = pageOf(lettersPath, id) + "&from=" + strconv.FormatInt(list[lettersPage-1].Number, 10)
	}
	for _, l := range list {
		letters.Letters = append(letters.Letters, a.letter(l))
	}
	view.Data = letters
	return a.show(v, http.StatusOK, "letters", view)
}

func (a *consoleAPI) showLetter(ctx context.Context, v *visit) error {
	return a.showLetterWith(ctx, v, http.StatusOK, "")
}

func (a *consoleAPI) showLetterWith(ctx context.Context, v *visit, status int, problem string) error {
	l, err := a.findLetter(ctx, v)
	if err != nil {
		return err
	}
	shown := a.letter(l)
	shown.Content, shown.Why = newBody(l.Body), v.form.Get("reason")
	return a.show(v, status, "letter", &view{Title: "Dead letter " + strconv.FormatInt(l.Number, 10), Error: problem, Data: shown})
}

func (a *consoleAPI) findLetter(ctx context.Context, v *visit) (appservice.DeadLetter, error) {
	number, err := strconv.ParseInt(v.form.Get("number"), 10, 64)
	if err != nil {
		return appservice.DeadLetter{}, matrix.NotFound("There is no dead letter of that number.")
	}
	return a.Deliveries.DeadLetter(ctx, number)
}

// changeLetter sends a letter again or discards it.
func (a *consoleAPI) changeLetter(ctx context.Context, v *visit) error {
	l, err := a.findLetter(ctx, v)
	if err != nil {
		return err
	}
	name, reason := v.form.Get("action"), strings.TrimSpace(v.form.Get("reason"))
	switch {
	case name == "replay":
		err = a.Ledger.Replay(ctx, v.session.User, l.Number)
	case name != "discard":
		return matrix.InvalidParam("There is nothing of that name to do.")
	case v.form.Get("sure") != "yes":
		return a.showLetterWith(ctx, v, http.StatusBadRequest, "Tick that what is inside may be lost.")
	case reason == "":
		return a.showLetterWith(ctx, v, http.StatusBadRequest, "Say why, for whoever looks for it.")
	default:
		err = a.Ledger.Discard(ctx, v.session.User, l.Number, reason)
	}
	if known := forPeople(err); known != nil {
		return a.showLetterWith(ctx, v, mild(known.Status), clip(a.hide(l.Service, known.Message), maxError))
	}
	if err != nil {
		return err
	}
	return v.goTo(pageOf(lettersPath, l.Service) + "&done=" + name)
}
