package format

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxImages is how many pictures of a message count.
const maxImages = 100

// Images are the mxc:// URIs of the pictures in a message's HTML, each once, in their order.
// Emoticons are their names and no pictures.
func Images(source string) []string {
	var found []string
	seen := map[string]bool{}
	tokens := html.NewTokenizer(strings.NewReader(source))
	tokens.SetMaxBuf(maxToken)
	for len(found) < maxImages {
		switch tokens.Next() {
		case html.ErrorToken:
			return found
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			uri := attribute(token, "src")
			_, emoticon := lookUp(token, "data-mx-emoticon")
			if token.DataAtom == atom.Img && !emoticon && strings.HasPrefix(uri, "mxc://") && !seen[uri] {
				seen[uri] = true
				found = append(found, uri)
			}
		}
	}
	return found
}
