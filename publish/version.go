package publish

import (
	"runtime/debug"
	"strings"
)

// Version names the program that both ends are: the commit it was built from, with a plus when there were changes beside it; "dev" when
// the build does not know.
func Version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	commit, changed := "", ""
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+"
		}
	}
	if commit == "" {
		if v := b.Main.Version; strings.HasPrefix(v, "v") {
			return v
		}
		return "dev"
	}
	return commit + changed
}
