package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"ringfence/lab"
	"ringfence/machine"
)

type backupCommand struct {
	File string `arg:"" help:"File to write; one that exists is not replaced."`
}

func (backupCommand) Help() string {
	return `Everything that is stored, as it is at one revision, while the server works: documents, addresses, numbers, hosts. The file holds no tokens and no keys; it is readable by its owner
alone. It is read back and checked before the command ends. See ringfence restore --help.

Examples:
  ringfence backup /var/backups/ringfence-monday
  ringfence backup --lab staging staging.backup -o json`
}

func (c *backupCommand) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.File); err == nil {
		return usagef("%s exists: name another file", c.File)
	}
	f, err := os.CreateTemp(filepath.Dir(c.File), ".backup-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := cl.download(a.ctx, "/ringfence/v1/backup", f); err != nil {
		return err
	}
	said, err := a.programs.checkBackup(f)
	if err != nil {
		return fmt.Errorf("%w; the server's log says why", err)
	}
	if err := errors.Join(f.Sync(), os.Link(f.Name(), c.File)); err != nil { // never over another file
		return fmt.Errorf("write backup: %w", err)
	}
	return a.print(said)
}

// checkBackup reads a file from its beginning.
func (p Programs) checkBackup(f *os.File) (any, error) {
	if p.CheckBackup == nil {
		return nil, errors.New("this program was built without the control plane")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	said, err := p.CheckBackup(f)
	if err != nil {
		return nil, err
	}
	return generic(said), nil
}

// download writes an answer of any length.
func (c *client) download(ctx context.Context, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("the control plane does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what is missing of a refusal is not worth another error
		return decodeError(resp.StatusCode, b)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

type restoreCommand struct {
	File   string `arg:"" type:"existingfile" help:"File that ringfence backup wrote."`
	Config string `type:"existingfile" help:"The server's configuration file: it names the data directory. Default: that of the lab, or /etc/ringfence/ringfence.yaml."`
	Check  bool   `help:"Only read the file to its end and say what it is."`
}

func (restoreCommand) Help() string {
	return `The server must be stopped, and its data directory must hold no store: move the old one away. Revisions begin a thousand million above the backup's, so that hosts,
which refuse goals older than theirs, take the goals of the restored store, and no ETag from before names other content. What was changed after the backup is gone; hosts enforce the
restored documents as soon as the server is started.

Examples:
  ringfence restore monday --check
  mv /var/lib/ringfenced/etcd /var/lib/ringfenced/etcd.lost
  ringfence restore /var/backups/ringfence-monday --config /etc/ringfence/ringfence.yaml`
}

func (c *restoreCommand) Run(a *app) error {
	f, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	defer f.Close()
	said, err := a.programs.checkBackup(f) // before anything is made
	if err != nil {
		return err
	}
	if c.Check {
		return a.print(said)
	}
	config := c.Config
	if config == "" {
		var err error
		if config, err = a.stoppedConfig(); err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	a.progress.begin("restoring")
	if err := a.programs.Restore(a.ctx, config, f); err != nil {
		return err
	}
	a.progress.done()
	return a.print(said)
}

// stoppedConfig is the configuration of a server that need not run: a lab's, or this machine's.
func (a *app) stoppedConfig() (string, error) {
	st, err := lab.Load(a.flags.Lab)
	_, missing := os.Stat(machine.DefaultFile)
	switch {
	case err == nil && a.flags.Lab == "" && missing == nil:
		return "", usagef("there are a lab and %s: say which with --lab or --config", machine.DefaultFile)
	case err == nil:
		return filepath.Join(st.RunDir, "server.yaml"), nil
	case a.flags.Lab == "" && missing == nil:
		return machine.DefaultFile, nil
	}
	return "", fmt.Errorf("%w; or name the server's configuration with --config", err)
}
