package telemetry

import (
	"runtime"
	"runtime/debug"
)

// Set by the linker: -X trestle/internal/telemetry.version=….
var (
	version = ""
	commit  = ""
)

// BuildInfo is what a binary was built from.
type BuildInfo struct {
	Version string `json:"version"` // a tag, or "dev"
	Commit  string `json:"commit"`  // empty if it is not known
	Go      string `json:"go"`
}

// Build describes this binary: by what the linker was told, or else by what
// the Go tool wrote into it.
func Build() BuildInfo {
	b := BuildInfo{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && b.Commit == "" {
				b.Commit = setting.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	return b
}

// String is one line for people.
func (b BuildInfo) String() string {
	line := "trestle " + b.Version
	if b.Commit != "" {
		line += " (" + b.Commit + ")"
	}
	return line + ", " + b.Go
}
