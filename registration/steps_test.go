package registration_test

import (
	"strings"
	"testing"

	"trestle/registration"
)

// Any expression that is as long as it may be is taken, unless it counts further than
// anybody would write.
func TestExpressionsThatCount(t *testing.T) {
	for regex, want := range map[string]bool{
		"@(" + strings.Repeat("alice|", 1300) + "bob):hs": true,
		"@" + strings.Repeat("a?", 4000):                  true,
		"@" + strings.Repeat("[a-z0-9]", 1000):            true,
		"@irc_.{1,64}:hs":                                 true,
		"@[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:hs":   true,
		"@(a?){1000}b{1000}:hs":                           true,
		"@" + strings.Repeat("(a?){1000}", 10):            false,
		"@(" + strings.Repeat("x", 100) + "){101}":        false,
		"@((a{10}){10}){11}.{9000}":                       false,
		"@(?i:" + strings.Repeat("(.*x){500,}", 20) + ")": false,
	} {
		if _, err := registration.NewNamespace(regex, true); (err == nil) != want {
			t.Errorf("%.40s: %.200v", regex, err)
		}
	}
}
