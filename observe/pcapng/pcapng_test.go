package pcapng_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ringfence/observe/pcapng"
)

// The bytes of a small file, block by block, as the format says; nothing of it depends on the machine.
func TestBytes(t *testing.T) {
	at := time.Unix(1, 2)
	got := pcapng.Append(nil, pcapng.Packet{Time: at, In: true, Len: 60, Data: []byte{1, 2, 3, 4, 5}, Comment: "in drop"})
	want := []byte{6, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xca, 0x9a, 0x3b, 5, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0,
		2, 0, 4, 0, 1, 0, 0, 0, 1, 0, 7, 0, 'i', 'n', ' ', 'd', 'r', 'o', 'p', 0, 0, 0, 0, 0, 64, 0, 0, 0}
	if !bytes.Equal(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
}

// tcpdump reads the file: all packets, with their times and what is kept of them.
func TestTcpdumpReadsIt(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Fatal("tcpdump is needed: the file is for it")
	}
	frame := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x04\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x05")
	b := pcapng.Header("ringfence", "web1", 256)
	for i := range 3 {
		b = pcapng.Append(b, pcapng.Packet{Time: time.Unix(1700000000+int64(i), 5), In: i == 1, Len: uint32(len(frame)), Data: frame, Comment: "out drop limit_arp"})
	}
	file := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(file, append(b, pcapng.Lost(time.Unix(1700000009, 0), 7)...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tcpdump, "-n", "-tt", "-r", file).CombinedOutput()
	if err != nil || bytes.Count(out, []byte("who-has 10.0.0.5 tell 10.0.0.4")) != 3 || !bytes.Contains(out, []byte("1700000002.000000")) {
		t.Errorf("%v\n%s", err, out)
	}
}
