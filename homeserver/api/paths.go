package api

import "strings"

// servedPaths are the paths of a route in gin's form: itself, its aliases,
// and r0 beside v3.
//
// Parameters are named by their place ("/:1/:2"), because gin wants every
// route to use one name at one place and the specification does not.
func servedPaths(r *Route) []string {
	var paths []string
	for _, path := range append([]string{r.Path}, r.aliases...) {
		paths = append(paths, ginPaths(path)...)
		if old, ok := r0Path(path); ok && !r.onlyV3 {
			paths = append(paths, ginPaths(old)...)
		}
	}
	return paths
}

func r0Path(path string) (string, bool) {
	for _, prefix := range []string{"/_matrix/client/", "/_matrix/media/"} {
		if rest, ok := strings.CutPrefix(path, prefix+"v3/"); ok {
			return prefix + "r0/" + rest, true
		}
	}
	return "", false
}

// emptyParameter is the one path parameter that may be empty: most state has
// the empty state key.
const emptyParameter = "stateKey"

// ginPaths are the forms of one path. An empty state key may be left out with
// its slash or without; a path that ends in a slash is served without it too.
func ginPaths(path string) []string {
	forms := []string{path}
	if bare, ok := strings.CutSuffix(path, "/{"+emptyParameter+"}"); ok {
		forms = append(forms, bare+"/", bare)
	} else if bare, ok := strings.CutSuffix(path, "/"); ok && bare != "" {
		forms = append(forms, bare)
	}
	for i, form := range forms {
		segments := strings.Split(form, "/")
		for j, segment := range segments {
			if strings.HasPrefix(segment, "{") {
				segments[j] = ":" + string(rune('a'+j))
			}
		}
		forms[i] = strings.Join(segments, "/")
	}
	return forms
}
