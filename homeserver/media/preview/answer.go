package preview

import (
	"context"
	"encoding/json"
	"slices"

	"trestle/homeserver/media"
)

// What an answer says about its picture.
const (
	imageKey  = "og:image"
	typeKey   = "og:image:type"
	widthKey  = "og:image:width"
	heightKey = "og:image:height"
	sizeKey   = "matrix:image:size"
)

// current is an answer that was kept, as it is now: without its picture where
// that has been hidden or deleted.
func (s *Service) current(ctx context.Context, kept json.RawMessage) (json.RawMessage, error) {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(kept, &answer); err != nil {
		return nil, err
	}
	var image string
	if answer[imageKey] == nil || json.Unmarshal(answer[imageKey], &image) != nil {
		return kept, nil
	}
	uri, err := media.ParseURI(image)
	if err != nil {
		return nil, err
	}
	if served, err := s.options.Media.Serves(ctx, uri); err != nil || served {
		return kept, err
	}
	for _, key := range []string{imageKey, typeKey, widthKey, heightKey, sizeKey} {
		delete(answer, key)
	}
	return json.Marshal(answer)
}

// maxAnswer bounds what is kept of the properties of a page, in bytes.
const maxAnswer = 16 << 10

// properties is as much of what a page says about itself as an answer has
// room for: what clients show comes first.
func properties(page *Page) map[string]any {
	first := []string{"og:title", "og:description", "og:site_name", "og:type", "og:url"}
	names := make([]string, 0, len(page.Properties))
	for name := range page.Properties {
		if !slices.Contains(first, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	answer, room := map[string]any{}, maxAnswer
	for _, name := range append(first, names...) {
		value := page.Properties[name]
		if need := len(name) + len(value); value != "" && need <= room {
			answer[name] = value
			room -= need
		}
	}
	return answer
}
