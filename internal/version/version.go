// Package version says what build this is.
package version

import "runtime/debug"

// Version is set by the build; a build from a module or a checkout falls back to
// what the Go tool recorded.
var Version = ""

// APIVersion is the release of Istio's API that is spoken.
const APIVersion = "1.31"

// Get is the version of this build, never empty.
func Get() string {
	if Version != "" {
		return Version
	}
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := bi.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
