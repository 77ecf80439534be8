package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A backup has its name only when it was read back; nothing is overwritten, and only its owner reads it.
func TestBackupFile(t *testing.T) {
	body := "whole"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ringfence/v1/backup" {
			t.Errorf("asked for %s", r.URL)
		}
		io.WriteString(w, body)
	}))
	t.Cleanup(api.Close)
	restored := ""
	programs := Programs{
		CheckBackup: func(r io.Reader) (any, error) {
			b, err := io.ReadAll(r)
			if err == nil && string(b) != "whole" {
				err = errors.New("it is damaged")
			}
			return map[string]any{"revision": 7, "keys": 3}, err
		},
		Restore: func(_ context.Context, config string, r io.Reader) error {
			b, err := io.ReadAll(r)
			restored = filepath.Base(config) + " " + string(b)
			return err
		},
	}
	dir := t.TempDir()
	file, config := filepath.Join(dir, "monday"), filepath.Join(dir, "server.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(words ...string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(context.Background(), append(words, "--endpoint", api.URL), programs, nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	body = "who"
	if code, text := do("backup", file); code != exitError || !strings.Contains(text, "damaged") {
		t.Errorf("a damaged backup: %d %s", code, text)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("a damaged backup left %v", left)
	}
	body = "whole"
	if code, text := do("backup", file); code != exitOK || !strings.Contains(text, "7") {
		t.Errorf("%d %s", code, text)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "whole" {
		t.Errorf("%q %v", b, err)
	}
	if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", i, err)
	}
	if code, text := do("backup", file); code != exitUsage || !strings.Contains(text, "exists") {
		t.Errorf("over a file: %d %s", code, text)
	}
	if code, _ := do("restore", file, "--check"); code != exitOK || restored != "" {
		t.Errorf("a check: %d, restored %q", code, restored)
	}
	if code, text := do("restore", file, "--config", config); code != exitOK || restored != "server.yaml whole" {
		t.Errorf("%d %s, restored %q", code, text, restored)
	}
	if err := os.WriteFile(file, []byte("wh"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, text := do("restore", file, "--config", config); code != exitError || !strings.Contains(text, "damaged") {
		t.Errorf("of a damaged backup: %d %s", code, text)
	}
}
