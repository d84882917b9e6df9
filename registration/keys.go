package registration

import (
	"fmt"
	"net/url"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// registration reads every key that the specification names, those of the
// proposals that services of today write, and one of ours.
func (p *parser) registration(root *yaml.Node) {
	r := p.reg
	p.fields(root, "A registration", map[string]func(*yaml.Node){
		"id":       func(n *yaml.Node) { r.lines.id = p.checked(n, "id", &r.ID, checkName) },
		"url":      p.url,
		"as_token": func(n *yaml.Node) { r.lines.asToken = p.checked(n, "as_token", &r.ASToken, checkToken) },
		"hs_token": func(n *yaml.Node) { p.checked(n, "hs_token", &r.HSToken, checkToken) },
		"sender_localpart": func(n *yaml.Node) {
			r.lines.sender = p.checked(n, "sender_localpart", &r.SenderLocalpart, checkLocalpart)
		},
		"namespaces":   p.namespaces,
		"rate_limited": func(n *yaml.Node) { p.boolean(n, "rate_limited", &r.RateLimited) },
		"protocols":    p.protocols,

		"receive_ephemeral": func(n *yaml.Node) { p.boolean(n, "receive_ephemeral", &r.ReceiveEphemeral) },
		"de.sorunome.msc2409.push_ephemeral": func(n *yaml.Node) {
			p.boolean(n, "de.sorunome.msc2409.push_ephemeral", &r.PushEphemeral)
		},
		"org.matrix.msc3202":  func(n *yaml.Node) { p.boolean(n, "org.matrix.msc3202", &r.DeviceLists) },
		"io.element.msc4190":  func(n *yaml.Node) { p.boolean(n, "io.element.msc4190", &r.DeviceManagement) },
		"trestle.query_token": p.queryToken,
		keyPrevious:           p.previous,
	}, "id", "url", "as_token", "hs_token", "sender_localpart", "namespaces")
	if r.ASToken != "" && r.ASToken == r.HSToken {
		p.warn(root.Line, "as_token and hs_token are the same; whoever learns one can play both roles.")
	}
}

// checked reads a text that check does not complain about, and returns its line.
func (p *parser) checked(n *yaml.Node, key string, dst *string, check func(string) string) (line int) {
	s, ok := p.text(n, key)
	if !ok {
		return n.Line
	}
	if complaint := check(s); complaint != "" {
		p.fail(n.Line, "%q %s.", key, complaint)
		return n.Line
	}
	*dst = s
	return n.Line
}

func checkName(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > 255:
		return "is longer than 255 bytes"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has control characters"
	}
	return ""
}

// checkToken wants what fits into an Authorization header as it is.
func checkToken(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxToken:
		return fmt.Sprintf("is longer than %d bytes", maxToken)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "may hold printable ASCII without spaces only"
	}
	return ""
}

// checkLocalpart accepts what user IDs could hold historically: generators of
// today write upper-case letters.
func checkLocalpart(s string) string {
	switch {
	case s == "":
		return "is empty"
	case s[0] == '@' && strings.Contains(s, ":"):
		return "is the part between @ and : alone"
	case len(s) > 250:
		return "is longer than 250 bytes"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }):
		return "has characters that a user ID cannot have"
	}
	return ""
}

func (p *parser) url(n *yaml.Node) {
	if isNull(n) {
		return
	}
	p.checked(n, "url", &p.reg.URL, checkURL)
	p.reg.URL = strings.TrimRight(p.reg.URL, "/")
}

// checkURL accepts http, https, and unix with the path of a socket.
func checkURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > 2048:
		return "is not a URL"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "may not have a user, a query or a fragment"
	case u.Scheme == "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return "needs an absolute path behind unix://, as in unix:///run/service.sock"
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return "must begin with http://, https:// or unix://"
	case u.Hostname() == "":
		return "names no host"
	case !reachable(u.Port()):
		return "has a port that is not between 1 and 65535"
	}
	return ""
}

// reachable tells whether something can listen on a port; an empty one is the scheme's.
func reachable(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func (p *parser) queryToken(n *yaml.Node) {
	s, ok := p.text(n, "trestle.query_token")
	if !ok {
		return
	}
	switch q := QueryToken(s); q {
	case QueryTokenAuto, QueryTokenAlways, QueryTokenNever:
		p.reg.QueryToken = q
	default:
		p.fail(n.Line, `"trestle.query_token" must be auto, always or never.`)
	}
}

// keyPrevious holds the tokens from before a rotation.
const keyPrevious = "trestle.previous_tokens"

func (p *parser) previous(n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, "%q must be a mapping with the keys as_token, hs_token and until.", keyPrevious)
		return
	}
	old := &p.reg.Previous
	p.fields(n, `"`+keyPrevious+`"`, map[string]func(*yaml.Node){
		"as_token": func(n *yaml.Node) { p.checked(n, "as_token", &old.ASToken, checkToken) },
		"hs_token": func(n *yaml.Node) { p.checked(n, "hs_token", &old.HSToken, checkToken) },
		"until": func(n *yaml.Node) {
			until, err := time.Parse(time.RFC3339, n.Value)
			if n.Kind != yaml.ScalarNode || err != nil {
				p.fail(n.Line, `"until" must be a time, as in 2026-01-31T12:00:00Z.`)
				return
			}
			old.Until = until.UTC()
		},
	}, "until")
}

func (p *parser) protocols(n *yaml.Node) {
	seen := map[string]bool{}
	p.list(n, "protocols", func(member *yaml.Node) {
		var name string
		p.checked(member, "protocols", &name, checkName)
		switch {
		case name == "":
		case seen[name]:
			p.warn(member.Line, "The protocol %q is listed twice.", name)
		case len(seen) == maxProtocols:
			p.fail(member.Line, "There are more than %d protocols.", maxProtocols)
		default:
			seen[name] = true
			p.reg.Protocols = append(p.reg.Protocols, name)
		}
	})
}

func (p *parser) namespaces(n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, `"namespaces" must be a mapping with the keys users, aliases and rooms.`)
		return
	}
	spaces, count := &p.reg.Namespaces, 0
	read := func(key string, sigil byte, dst *[]Namespace) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.list(n, key, func(member *yaml.Node) {
				if count++; count > maxNamespaces {
					if count == maxNamespaces+1 {
						p.fail(member.Line, "There are more than %d expressions.", maxNamespaces)
					}
					return
				}
				if space, ok := p.namespace(member, sigil); ok {
					*dst = append(*dst, space)
				}
			})
		}
	}
	p.fields(n, `"namespaces"`, map[string]func(*yaml.Node){
		"users":   read("users", '@', &spaces.Users),
		"aliases": read("aliases", '#', &spaces.Aliases),
		"rooms":   read("rooms", '!', &spaces.Rooms),
	})
}

func (p *parser) namespace(n *yaml.Node, sigil byte) (space Namespace, ok bool) {
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, `A namespace is a mapping with the keys "regex" and "exclusive".`)
		return space, false
	}
	var regex string
	var exclusive, read bool
	line := n.Line
	p.fields(n, "A namespace", map[string]func(*yaml.Node){
		"regex": func(n *yaml.Node) {
			regex, read = p.text(n, "regex")
			line = n.Line
		},
		"exclusive": func(n *yaml.Node) {
			if isNull(n) {
				p.fail(n.Line, `"exclusive" must be true or false.`)
				return
			}
			p.boolean(n, "exclusive", &exclusive)
		},
	}, "regex", "exclusive")
	if !read {
		return space, false
	}
	space, err := NewNamespace(regex, exclusive)
	if err != nil {
		p.fail(line, "In the namespace %.80q %s.", regex, err)
		return space, false
	}
	p.suspicious(line, space, sigil)
	return space, true
}

// suspicious warns of expressions that can match no ID at all, most often
// because they were written for a homeserver that anchors the beginning only.
func (p *parser) suspicious(line int, space Namespace, sigil byte) {
	tree, err := syntax.Parse(space.Regex, syntax.Perl)
	if err != nil {
		return
	}
	heads, whole := literals(tree.Simplify())
	possible := false
	for _, head := range heads {
		switch {
		case head == "" && !whole:
			possible = true
		case head == "" || head[0] != sigil:
		case !whole || sigil == '!' || strings.Contains(head, ":"):
			possible = true
		}
	}
	if !possible {
		p.warn(line, "The expression %.80q can match nothing: it is compared with whole IDs such as %cname:server. Does it want .* at its end?", space.Regex, sigil)
	}
}
