package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ringfence/intent/resource"
)

var update = flag.Bool("update", false, "write what the stories print into them")

// script is a server that answers as a story says, in order per request line; the last answer to a line is repeated.
type script struct {
	mu      sync.Mutex
	answers map[string][]string // "GET /path?query" → answers: status, headers, empty line, body
	log     strings.Builder
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.RequestURI()
	fmt.Fprintf(&s.log, "%s\n", line)
	if r.Header.Get("Authorization") != "Bearer secret" {
		fmt.Fprintf(&s.log, "  authorization %q\n", r.Header.Get("Authorization"))
	}
	if len(body) > 0 {
		fmt.Fprintf(&s.log, "  %s\n", strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "\n  "))
	}
	list := s.answers[line]
	if len(list) == 0 {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"code":"NoAnswer","message":"the story has no answer to %s"}}`, line)
		return
	}
	if len(list) > 1 {
		s.answers[line] = list[1:]
	}
	head, text, _ := strings.Cut(list[0], "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	status, _ := strconv.Atoi(lines[0])
	w.Header().Set("Content-Type", "application/json")
	for _, h := range lines[1:] {
		name, value, _ := strings.Cut(h, ": ")
		w.Header().Set(name, strings.ReplaceAll(value, "{base}", "http://"+r.Host))
	}
	w.WriteHeader(status)
	io.WriteString(w, strings.ReplaceAll(strings.TrimSpace(text), "{base}", "http://"+r.Host))
}

// Each story is a command line with the server's answers and everything that must come out: the requests, both streams, the exit code.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "stories", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { tell(t, name) })
	}
}

func tell(t *testing.T, name string) {
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	s := &script{answers: map[string][]string{}}
	dir := t.TempDir()
	for _, f := range a.Files {
		switch text := string(f.Data); {
		case strings.HasPrefix(f.Name, "answer "):
			line := strings.TrimPrefix(f.Name, "answer ")
			s.answers[line] = append(s.answers[line], text)
		case strings.HasPrefix(f.Name, "file "):
			if err := os.WriteFile(filepath.Join(dir, strings.TrimPrefix(f.Name, "file ")), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		default:
			sections[f.Name] = text
		}
	}
	server := httptest.NewServer(s)
	defer server.Close()
	for _, v := range []string{"RINGFENCE_LAB", "RINGFENCE_SUBSCRIPTION", "RINGFENCE_AS", "RINGFENCE_CA"} {
		t.Setenv(v, "")
	}
	t.Setenv("RINGFENCE_LAB", "nosuchlab")
	t.Setenv("RINGFENCE_ENDPOINT", server.URL)
	t.Setenv("RINGFENCE_TOKEN", "secret")
	args := strings.Split(strings.TrimSuffix(strings.ReplaceAll(sections["args"], "{dir}", dir), "\n"), "\n")
	var out, errOut bytes.Buffer
	code := run(context.Background(), args, Programs{}, strings.NewReader(sections["stdin"]), &out, &errOut)
	got := map[string]string{"requests": s.log.String(), "stdout": out.String(), "exit": fmt.Sprintln(code),
		"stderr": strings.ReplaceAll(errOut.String(), dir, "{dir}")}
	if *update {
		rewrite(t, name, a, got)
		return
	}
	for _, k := range []string{"requests", "stdout", "stderr", "exit"} {
		if d := cmp.Diff(trim(sections[k]), trim(got[k])); d != "" {
			t.Errorf("%s: %s", k, d)
		}
	}
}

// trim ignores blanks at the ends of lines, which editors drop.
func trim(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func rewrite(t *testing.T, name string, a *txtar.Archive, got map[string]string) {
	var keep []txtar.File
	for _, f := range a.Files {
		if _, printed := got[f.Name]; !printed {
			keep = append(keep, f)
		}
	}
	for _, k := range []string{"requests", "stdout", "stderr", "exit"} {
		if text := trim(got[k]); text != "" {
			keep = append(keep, txtar.File{Name: k, Data: []byte(text + "\n")})
		}
	}
	a.Files = keep
	if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every command has a help text with an example.
func TestHelp(t *testing.T) {
	for _, words := range allCommands(t, resource.Types()) {
		var out, errOut bytes.Buffer
		code := run(context.Background(), append(strings.Fields(words), "--help"), Programs{}, strings.NewReader(""), &out, &errOut)
		if code != 0 || !strings.Contains(out.String(), "Example") || !strings.Contains(out.String(), "ringfence "+words) {
			t.Errorf("%s: exit %d\n%s%s", words, code, &out, &errOut)
		}
	}
}
