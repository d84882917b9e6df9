package homeserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// What looks like the token of an operator's command is not yet one.
func TestForgedOperatorTokens(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base := start(t, url, nil)
		now := time.Now().Unix()
		for _, token := range []string{
			"trestle_op_", "trestle_op_x_y", fmt.Sprintf("trestle_op_%d", now), fmt.Sprintf("trestle_op_%d_%s", now, strings.Repeat("0", 64)),
		} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/_synapse/admin/v2/users", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %s", token, response.Status)
			}
		}
	})
}
