package publish

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"runtime/debug"
	"strings"
	"sync"
)

// Version names the program that both ends are: its release, or the commit it was built from, with a plus when there were changes beside
// it. Of a program whose build does not know either it is "dev-" and what tells one build from another.
var Version = sync.OnceValue(func() string {
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
	switch v := b.Main.Version; {
	case commit != "":
		return commit + changed
	case strings.HasPrefix(v, "v"):
		return v
	}
	return "dev" + buildID("/proc/self/exe")
})

// buildID is what the linker put into the program to tell it from every other, shortened; empty when there is nothing.
func buildID(program string) string {
	f, err := elf.Open(program)
	if err != nil {
		return ""
	}
	defer f.Close()
	note := f.Section(".note.go.buildid")
	if note == nil {
		return ""
	}
	id, err := note.Data()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(id)
	return "-" + hex.EncodeToString(sum[:6])
}
