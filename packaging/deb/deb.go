// Command deb makes a Debian package of Ringfence.
//
// In: a built binary, its version, and the time that every file in the package gets. Out: one .deb, the same to the byte for the same
// input: program, units, manual pages, completion and an example of the configuration. `make deb` runs it.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ringfence/machine"
)

func main() {
	binary := flag.String("binary", "bin/ringfence", "built program")
	version := flag.String("version", "0", "Debian version")
	at := flag.Int64("time", 0, "Unix time of every file")
	units := flag.String("units", "packaging/systemd", "directory of the units")
	out := flag.String("out", "", "file to write; empty: bin/ringfence_VERSION_ARCH.deb")
	flag.Parse()
	if *out == "" {
		*out = fmt.Sprintf("bin/ringfence_%s_%s.deb", *version, runtime.GOARCH)
	}
	p := pack{time: time.Unix(*at, 0).UTC(), files: map[string]file{}}
	err := p.collect(*binary, *units)
	if err == nil {
		err = p.write(*out, *version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deb:", err)
		os.Exit(1)
	}
	fmt.Println(*out)
}

type file struct {
	body []byte
	mode int64
}

// pack is what the package will hold, by path.
type pack struct {
	time  time.Time
	files map[string]file
}

// collect takes the files; manual pages and completion are what the program itself says.
func (p *pack) collect(binary, units string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	p.files["usr/bin/ringfence"] = file{program, 0o755}
	all, err := filepath.Glob(filepath.Join(units, "*.service"))
	if err != nil || len(all) == 0 {
		return fmt.Errorf("no units in %s", units)
	}
	for _, u := range all {
		b, err := os.ReadFile(u)
		if err != nil {
			return err
		}
		p.files["lib/systemd/system/"+filepath.Base(u)] = file{b, 0o644}
	}
	for shell, path := range map[string]string{"bash": "usr/share/bash-completion/completions/ringfence", "zsh": "usr/share/zsh/vendor-completions/_ringfence",
		"fish": "usr/share/fish/vendor_completions.d/ringfence.fish"} {
		b, err := exec.Command(binary, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completion for %s: %w", shell, err)
		}
		p.files[path] = file{b, 0o644}
	}
	p.files["usr/share/doc/ringfence/examples/ringfence.yaml"] = file{[]byte(machine.Example("host1", "eth1", "192.0.2.1")), 0o644}
	return p.man(binary)
}

func (p *pack) man(binary string) error {
	dir, err := os.MkdirTemp("", "man")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := exec.Command(binary, "man", dir).Run(); err != nil {
		return fmt.Errorf("manual pages: %w", err)
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, page := range pages {
		b, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			return err
		}
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
		w.Write(b)
		if err := w.Close(); err != nil {
			return err
		}
		p.files["usr/share/man/man1/"+page.Name()+".gz"] = file{z.Bytes(), 0o644}
	}
	return nil
}

// afterInstall tells systemd about the units; nothing is started: there is no configuration yet.
const afterInstall = "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; fi\n"

// write makes the archive: three members, in this order.
func (p *pack) write(out, version string) error {
	data, err := p.tar(p.files)
	if err != nil {
		return err
	}
	size := 0
	var sums bytes.Buffer
	for _, name := range p.names(p.files) {
		size += len(p.files[name].body)
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(p.files[name].body), name)
	}
	control := fmt.Sprintf("Package: ringfence\nVersion: %s\nArchitecture: %s\nMaintainer: Ringfence <ringfence@localhost>\nInstalled-Size: %d\nSection: net\nPriority: optional\n"+
		"Description: Azure's virtual-network security on Linux hosts\n Tenants' isolated virtual networks with a distributed firewall at every machine,\n driven by Azure's own clients and enforced by eBPF programs.\n",
		version, runtime.GOARCH, (size+1023)/1024)
	head, err := p.tar(map[string]file{"control": {[]byte(control), 0o644}, "md5sums": {sums.Bytes(), 0o644}, "postinst": {[]byte(afterInstall), 0o755},
		"postrm": {[]byte(afterInstall), 0o755}})
	if err != nil {
		return err
	}
	var ar bytes.Buffer
	ar.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		body []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", head}, {"data.tar.gz", data}} {
		fmt.Fprintf(&ar, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, p.time.Unix(), 0, 0, "100644", len(m.body))
		ar.Write(m.body)
		if len(m.body)%2 == 1 {
			ar.WriteByte('\n')
		}
	}
	return os.WriteFile(out, ar.Bytes(), 0o644)
}

func (p *pack) names(files map[string]file) []string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// tar writes files, and before each the directories that it lies in.
func (p *pack) tar(files map[string]file) ([]byte, error) {
	var z bytes.Buffer
	gz, err := gzip.NewWriterLevel(&z, gzip.DefaultCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(gz)
	made := map[string]bool{}
	for _, name := range p.names(files) {
		parts := strings.Split(name, "/")
		for i := range parts[:len(parts)-1] {
			dir := "./" + strings.Join(parts[:i+1], "/") + "/"
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: p.time, Uname: "root", Gname: "root", Format: tar.FormatGNU}); err != nil {
				return nil, err
			}
		}
		f := files[name]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Size: int64(len(f.body)), Mode: f.mode, ModTime: p.time, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, bytes.NewReader(f.body)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := gz.Close(); err != nil {
		return nil, err
	}
	return z.Bytes(), nil
}
