package search

import (
	"encoding/base64"
	"encoding/json"
	"math"

	"trestle/internal/matrix"
)

// A cursor is where a list of results goes on.
type cursor struct {
	Recent   bool    `json:"t,omitempty"` // ordered by time
	UpTo     int64   `json:"u"`           // the newest position when the search began
	Position int64   `json:"p"`           // of the last result
	Score    float64 `json:"s,omitempty"` // of the last result
	Count    int     `json:"c"`           // as the first page said
	// Group and Value say that only the results of a group are wanted.
	Group string `json:"g,omitempty"`
	Value string `json:"v,omitempty"`
}

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // scores are finite
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor reads a next_batch token; M_INVALID_PARAM for what is none.
func parseCursor(token string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	switch {
	case err != nil, c.UpTo < 0, c.Position < 0, c.Count < 0, math.IsNaN(c.Score),
		c.Group != "" && c.Group != ByRoom && c.Group != BySender, (c.Group == "") != (c.Value == ""):
		return cursor{}, matrix.InvalidParam("next_batch is not a token of this search.")
	}
	return c, nil
}

// behind reports whether a result comes after the cursor.
func (c *cursor) behind(h *hit) bool {
	if !c.Recent && h.score != c.Score {
		return h.score < c.Score
	}
	return h.event.Position < c.Position
}

// within reports whether a result is one of the cursor's group.
func (c *cursor) within(h *hit) bool { return c.Group == "" || h.group(c.Group) == c.Value }
