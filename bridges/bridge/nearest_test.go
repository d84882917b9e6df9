package bridge

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"certfp", "cmd", "join", "nick", "quit", "storepass", "whois"}
	for word, want := range map[string]string{
		"storepas": "storepass", "sotrepass": "storepass", "stroepsas": "storepass", "storpass": "storepass",
		"jion": "join", "jon": "join", "whos": "whois", "nik": "nick", "cmdd": "cmd",
		"x": "", "": "", "dm": "", "leave": "", "storepassword": "storepass", "cert": "certfp", "ni": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestTypos(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"join", "join", 0}, {"jion", "join", 1}, {"jon", "join", 1}, {"joiin", "join", 1}, {"jo1n", "join", 1}, {"a", "abcd", 3}} {
		if got := typos(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := typos(tt.b, tt.a); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
