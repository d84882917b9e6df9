package clientapi

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/internal/matrix"
)

// mailStagePath is the page of the stage that is done by following the link in a
// mail (Client-Server API § Fallback). It sends mails, and is limited as the
// other requests for them are.
const mailStagePath = "/_matrix/client/v3/auth/" + accounts.StageEmail + "/fallback/web"

func (a *accountAPI) mailStageRoutes() []api.Route {
	explain := api.Errors(errorPage)
	return []api.Route{
		api.Raw("GET", mailStagePath, api.None, a.mailStagePage, explain),
		api.Raw("POST", mailStagePath, api.None, a.sendStageMail, api.Limit("mail"), api.BodyLimit(maxForm), explain),
	}
}

// mailStageURL is where a browser sees how far a session has got. With again it
// is asked for another address.
func mailStageURL(session string, again bool) string {
	query := url.Values{"session": {session}}
	if again {
		query.Set("again", "yes")
	}
	return mailStagePath + "?" + query.Encode()
}

// mailStagePage asks for an address, waits for its mail to be read, or tells the
// application that it was.
func (a *accountAPI) mailStagePage(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	session := params.Query("session")
	stage, err := a.accounts.MailStage(r.Context(), session)
	switch {
	case err != nil:
		return (&page{Page: accounts.Page{Title: "Your mail address"}}).explain(w, err)
	case stage.Done:
		return donePage().write(w, http.StatusOK)
	case stage.Address == "" || params.Query("again") != "":
		return newMailForm(stage, session).write(w, http.StatusOK)
	}
	return newMailWait(stage, session).write(w, http.StatusOK)
}

func newMailForm(stage accounts.MailStage, session string) *page {
	p := &page{Page: accounts.Page{
		Title: "Your mail address", Continue: "Send me a mail",
		Text:   "This server wants a mail address from those who register. You will get a mail with a link.",
		Fields: []accounts.Field{{Name: "email", Label: "Mail address", Completes: "email", Value: stage.Address}},
	}, Action: mailStageURL(session, false)}
	if stage.Purpose == accounts.ForPassword {
		p.Title = "Set a new password"
		p.Text = "Give the mail address of your account only if you have come here from your own application to set a new password. You will get a mail with a link."
	}
	return p
}

// newMailWait is a page that looks again by itself: every five seconds at first, and
// less often the longer it takes.
func newMailWait(stage accounts.MailStage, session string) *page {
	return &page{
		Page: accounts.Page{
			Title: "Open the link in the mail", Text: "A mail is on its way to this address. Open the link in it, and come back here.",
		},
		Facts:   []fact{{"Mail address", stage.Address}},
		Ways:    []way{{"I have done so", mailStageURL(session, false)}},
		After:   []exit{{"No mail, or another address?", template.URL(mailStageURL(session, true))}},
		Refresh: int(max(5*time.Second, stage.Waited/10).Seconds()),
	}
}

// sendStageMail sends the mail, and has the browser wait on a page that it can
// load again.
func (a *accountAPI) sendStageMail(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	session := params.Query("session")
	stage, err := a.accounts.MailStage(r.Context(), session)
	if err != nil {
		return (&page{Page: accounts.Page{Title: "Your mail address"}}).explain(w, err)
	}
	if err := a.accounts.SendStageMail(r.Context(), session, strings.TrimSpace(r.PostForm.Get("email"))); err != nil {
		return newMailForm(stage, session).explain(w, err)
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	browsers.GoTo(w, r, mailStageURL(session, false))
	return nil
}
