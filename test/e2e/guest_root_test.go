package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guestDir is where .ci/deps puts the kernel that guests boot.
const guestDir = "/var/cache/ringfence-guest"

// guestModules are what a guest needs for its network device, in the order of their needs.
var guestModules = []string{"virtio_ring", "virtio", "failover", "net_failover", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_net", "af_packet"}

// guestInit is the guest's first program. What it says on the console is what the test reads. 10.0.1.4 is a sandbox of the same subnet.
const guestInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(cat /modules/order); do insmod /modules/$m.ko; done
ip link set lo up; ip link set eth0 up
udhcpc -q -n -t 20 -T 1 -i eth0 -s /lease >/dev/null 2>&1 && echo "GUEST lease $(ip -4 -o addr show eth0 | awk '{print $4}')"
fetch() { printf 'GET /big HTTP/1.0\r\n\r\n' | nc -w 3 10.0.1.4 $1 | tail -c %d; }
mkdir /www; fetch 80 >/www/big
echo "GUEST allowed $(md5sum </www/big | cut -d' ' -f1)"
echo "GUEST denied $(fetch 81 | wc -c)"
httpd -p 82 -h /www; httpd -p 83 -h /www
echo "GUEST ready"
while sleep 1; do :; done
`

// guestFile is what both sides send.
var guestFile = bytes.Repeat([]byte("ringfence carries whole segments. "), 1<<16)

const guestLease = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev eth0
for r in $router; do ip route add default via $r; done
`

// initramfs packs files in the kernel's own format.
func initramfs(files map[string][]byte, dirs ...string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	n, at := 0, 0
	entry := func(name string, mode int, body []byte) {
		n++
		head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", n, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name)+1, 0)
		for _, part := range [][]byte{append([]byte(head+name), 0), body} {
			at += len(part)
			part = append(part[:len(part):len(part)], make([]byte, (4-at%4)%4)...)
			at = 0
			z.Write(part)
		}
	}
	for _, d := range dirs {
		entry(d, 0o40755, nil)
	}
	for name, body := range files {
		entry(name, 0o100755, body)
	}
	entry("TRAILER!!!", 0, nil)
	z.Close()
	return out.Bytes()
}

// image writes the guest's kernel and initramfs into a directory.
func image(t *testing.T) (kernel, initrd string) {
	t.Helper()
	kernels, _ := filepath.Glob(guestDir + "/boot/vmlinuz-*")
	if len(kernels) == 0 {
		t.Fatalf("no kernel for guests below %s: run .ci/deps test", guestDir)
	}
	files := map[string][]byte{"init": []byte(fmt.Sprintf(guestInit, len(guestFile))), "lease": []byte(guestLease)}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	files["bin/busybox"] = read(busybox)
	var order []string
	modules := map[string]string{}
	filepath.WalkDir(guestDir+"/lib/modules", func(path string, _ os.DirEntry, _ error) error {
		if strings.HasSuffix(path, ".ko") {
			modules[strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")] = path
		}
		return nil
	})
	for _, m := range guestModules {
		if modules[m] != "" { // else it is in the kernel itself
			files["modules/"+m+".ko"], order = read(modules[m]), append(order, m)
		}
	}
	files["modules/order"] = []byte(strings.Join(order, "\n"))
	initrd = filepath.Join(t.TempDir(), "initrd.gz")
	if err := os.WriteFile(initrd, initramfs(files, "bin", "dev", "proc", "sys", "modules"), 0o600); err != nil {
		t.Fatal(err)
	}
	return kernels[0], initrd
}

// A virtual machine of QEMU's behind a tap: it gets its lease from the fabric and talks with a sandbox through both interfaces' rules, in
// whole segments that the device offloads.
func TestGuestBehindTap(t *testing.T) {
	const tenant = "contoso"
	l := newLab(t, 1)
	l.vnet(tenant)
	l.vm(tenant, "a1", "a", "host1")
	l.nic(tenant, "guest", "a") // 10.0.1.5
	l.rules(tenant, deny("Tcp", 81)+","+deny("Tcp", 83))
	id, host, tap := l.path(tenant, network+"networkInterfaces/guest"), l.State.Hosts[0].Netns, "vm0"
	run(t, "ip", "-n", host, "tuntap", "add", tap, "mode", "tap", "vnet_hdr")
	var port struct{ MAC string }
	if err := json.Unmarshal([]byte(l.must("port", "attach", id, "--host", "host1", "--tap", tap, "-o", "json")), &port); err != nil {
		t.Fatal(err)
	}

	www, box := t.TempDir(), l.namespace(tenant, "a1")
	if err := os.WriteFile(filepath.Join(www, "big"), guestFile, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"80", "81"} {
		begin(t, exec.Command("ip", "netns", "exec", box, "busybox", "httpd", "-f", "-p", p, "-h", www))
	}
	kernel, initrd := image(t)
	console := filepath.Join(t.TempDir(), "console")
	begin(t, exec.Command("ip", "netns", "exec", host, "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,tb-size=32", "-cpu", "max", "-m", "128", "-nodefaults",
		"-no-user-config", "-display", "none", "-serial", "file:"+console, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
		"-netdev", "tap,id=n0,ifname="+tap+",script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=,mac="+port.MAC))
	said := guestSays(t, console, "ready")
	sum := strings.Fields(run(t, "md5sum", filepath.Join(www, "big")))[0]
	for what, want := range map[string]string{"lease": "10.0.1.5/24", "allowed": sum, "denied": "0"} {
		if said[what] != want {
			t.Errorf("the guest says %s %q, want %q", what, said[what], want)
		}
	}
	fetch := func(port string) error {
		cmd := exec.Command("ip", "netns", "exec", box, "busybox", "nc", "-w", "3", "10.0.1.5", port)
		cmd.Stdin = strings.NewReader("GET /big HTTP/1.0\r\n\r\n")
		out, err := cmd.Output()
		if err == nil && !bytes.HasSuffix(out, guestFile) {
			err = fmt.Errorf("%d bytes, without the file's %d", len(out), len(guestFile))
		}
		return err
	}
	if err := fetch("82"); err != nil {
		t.Errorf("from the sandbox to the guest, allowed: %v", err)
	}
	if err := fetch("83"); err == nil {
		t.Error("from the sandbox to the guest: what is denied gets through")
	}
	l.must("port", "detach", id, "--host", "host1")
	if out := run(t, "ip", "-n", host, "link", "show", tap); strings.Contains(out, ",UP") {
		t.Errorf("a tap that is no port any more is up: %s", out)
	}
}

// begin starts a program that ends with the test.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() && errs.Len() > 0 {
			t.Logf("%v: %s", cmd.Args, errs.String())
		}
	})
}

// guestSays reads the console until the guest has said the word.
func guestSays(t *testing.T, console, until string) map[string]string {
	t.Helper()
	var text []byte
	for range 600 {
		text, _ = os.ReadFile(console)
		said := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "GUEST" {
				said[f[1]] = strings.Join(f[2:], " ")
			}
		}
		if _, ok := said[until]; ok {
			return said
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the guest did not get there in a minute:\n%s", text[max(0, len(text)-4000):])
	return nil
}
