package accounts

import (
	"context"
	"maps"
	"net/url"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Policy is something that people agree to when they register.
type Policy struct {
	Version   string
	Languages map[string]Document // by language tag
}

// A Document is a policy in one language.
type Document struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// termsStage is the agreement to all policies (Client-Server API § Terms of
// service at registration).
type termsStage struct{ policies map[string]Policy }

func (termsStage) Name() string { return StageTerms }

func (t termsStage) Params(Operation, string) any {
	policies := map[string]map[string]any{}
	for id, policy := range t.policies {
		policies[id] = map[string]any{"version": policy.Version}
		for language, document := range policy.Languages {
			policies[id][language] = document
		}
	}
	return map[string]any{"policies": policies}
}

// Check has nothing to check: sending the stage is agreeing.
func (t termsStage) Check(context.Context, Attempt) (string, error) { return "agreed", nil }

func (t termsStage) Page(string) Page {
	page := Page{
		Title: "Terms of this server", Text: "Please read these before you go on:",
		Agree: "I have read them all and agree to them.",
	}
	for _, id := range slices.Sorted(maps.Keys(t.policies)) {
		languages := t.policies[id].Languages
		for _, language := range slices.Sorted(maps.Keys(languages)) {
			page.Links = append(page.Links, languages[language])
		}
	}
	return page
}

func (termsStage) Submit(_ context.Context, form url.Values, _ string) (matrix.UserID, error) {
	if form.Get("agree") != "yes" {
		return "", retry("M_FORBIDDEN", "You have to agree to go on.")
	}
	return "", nil
}

// noteConsents writes down what somebody who registers has agreed to.
func (s *Service) noteConsents(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	for _, id := range slices.Sorted(maps.Keys(s.options.Terms)) {
		if err := s.options.Store.SetConsent(ctx, tx, user, id, s.options.Terms[id].Version, s.now()); err != nil {
			return err
		}
	}
	return nil
}

// Consents is the versions of the policies that a user has agreed to, by
// policy.
func (s *Service) Consents(ctx context.Context, user matrix.UserID) (map[string]string, error) {
	return s.options.Store.Consents(ctx, user)
}
