package config

import (
	"reflect"
	"testing"
)

// Two settings with one variable would be a setting that cannot be reached.
func TestVariablesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	walk(reflect.ValueOf(Default()).Elem(), "", func(f leaf) {
		names := []string{f.envName()}
		if f.isSecret() {
			names = append(names, f.envName()+"_FILE")
		}
		for _, name := range names {
			if other, taken := seen[name]; taken {
				t.Errorf("%s is both %s and %s", name, other, f.key)
			}
			seen[name] = f.key
		}
	})
	if len(seen) < 50 {
		t.Errorf("only %d variables: the walk misses some", len(seen))
	}
}
