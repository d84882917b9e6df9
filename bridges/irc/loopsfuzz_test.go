package irc

import "testing"

func FuzzCoreOf(f *testing.F) {
	f.Add("<alice> \x02hi\x02 there")
	f.Add("[a] <b> (c) d: e")
	f.Add("<<>>>")
	f.Fuzz(func(t *testing.T, text string) {
		core, names := coreOf(text)
		if len(core) > maxCore || len(names) > 3 {
			t.Fatalf("%q has the core %q and the names %q", text, core, names)
		}
		// A bridge that puts a name before it changes nothing.
		if again, more := coreOf("<someone> " + text); len(names) < 3 && core != "" && (again != core || len(more) != len(names)+1 || more[0] != "someone") {
			t.Fatalf("with a name, %q becomes %q, without %q", text, again, core)
		}
	})
}
