package rooms

import (
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func FuzzServerACL(f *testing.F) {
	f.Add(`{"allow":["*"],"deny":["*.evil.example","?x"],"allow_ip_literals":false}`, "a.evil.example:8448")
	f.Add(`{"allow":["[*"],"allow_ip_literals":null}`, "[2001:db8::1]:1")
	f.Add(`{"allow":[1,{"a":"*"}],"deny":"*"}`, "01.2.3.4")
	f.Add(`[]`, "x")
	f.Fuzz(func(t *testing.T, content, server string) {
		name, err := matrix.ParseServerName(server)
		if err != nil {
			return
		}
		acl := parseServerACL([]byte(content))
		allowed := acl.allows(name)
		if acl.allows(name) != allowed || parseServerACL([]byte(content)).allows(matrix.ServerName(strings.ToUpper(server))) != allowed {
			t.Errorf("%s is judged in different ways by %s", server, content)
		}
		if other := matrix.ServerName(host(name) + ":1"); parseServerACL([]byte(content)).allows(other) != allowed {
			t.Errorf("%s is judged in another way than %s by %s", other, server, content)
		}
		if allowed && len(acl.allow) == 0 {
			t.Errorf("%s is allowed by nothing: %s", server, content)
		}
	})
}
