package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Previews say what pages are about.
type Previews interface {
	Preview(ctx context.Context, user matrix.UserID, url string) (json.RawMessage, error)
}

// previewsAPI is the part of the content repository that looks at pages.
type previewsAPI struct{ previews Previews }

// PreviewRoutes are the routes for previews of pages; without a service they
// say that there are none.
func PreviewRoutes(p Previews) []api.Route {
	a := &previewsAPI{p}
	limit := api.Limit("preview")
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v1/media/preview_url", api.User, a.preview, limit),
		api.Endpoint("GET", "/_matrix/media/v3/preview_url", api.User, a.preview, limit, api.Aliases("/_matrix/media/v1/preview_url")),
	}
}

type previewRequest struct {
	URL string `query:"url" required:"true"`
	// TS is when the page should have looked like the answer. There is only
	// one that is kept.
	TS *int64 `query:"ts"`
}

func (a *previewsAPI) preview(ctx context.Context, who api.Caller, req *previewRequest) (*json.RawMessage, error) {
	if a.previews == nil {
		return nil, matrix.Unrecognized("This server makes no previews of pages.")
	}
	answer, err := a.previews.Preview(ctx, who.UserID, req.URL)
	return &answer, err
}
