package identity

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		role, action string
		want         bool
	}{
		{"Owner", "Microsoft.Authorization/roleAssignments/write", true},
		{"Owner", "Microsoft.Network/virtualNetworks/subnets/join/action", true},
		{"Contributor", "Microsoft.Network/virtualNetworks/write", true},
		{"Contributor", "Microsoft.Authorization/roleAssignments/read", true},
		{"Contributor", "Microsoft.Authorization/roleAssignments/write", false},
		{"Contributor", "microsoft.authorization/roleassignments/delete", false},
		{"Reader", "Microsoft.Network/virtualNetworks/read", true},
		{"Reader", "Microsoft.Network/virtualNetworks/write", false},
		{"Reader", "Microsoft.Network/virtualNetworks/subnets/join/action", false},
		{"Reader", "Microsoft.Resources/deployments/exportTemplate/action", false},
		{"Network Contributor", "Microsoft.Network/networkSecurityGroups/delete", true},
		{"Network Contributor", "Microsoft.Compute/virtualMachines/write", false},
		{"Network Contributor", "Microsoft.Compute/virtualMachines/read", false},
		{"Network Contributor", "Microsoft.Resources/deployments/write", true},
		{"Network Contributor", "Microsoft.Resources/subscriptions/resourceGroups/write", false},
		{"Network Contributor", "Microsoft.Authorization/roleAssignments/write", false},
	} {
		r, ok := FindRole(c.role)
		if !ok || r.Permits(c.action) != c.want {
			t.Errorf("%s, %s: %v", c.role, c.action, !c.want)
		}
	}
	if _, ok := FindRole("Wizard"); ok {
		t.Error("a role that does not exist")
	}
}

func TestScopes(t *testing.T) {
	a := Assignment{Scope: "/subscriptions/S/resourceGroups/g"}
	for target, want := range map[string]bool{
		"/subscriptions/s/resourcegroups/G": true, "/subscriptions/S/resourceGroups/g/providers/P/t/n": true,
		"/subscriptions/S/resourceGroups/g2": false, "/subscriptions/S": false, "/subscriptions/S/resourceGroups": false,
	} {
		if a.Covers(target) != want {
			t.Errorf("%s: %v", target, !want)
		}
	}
	now := func(string) string { return "second" }
	for incarnation, want := range map[string]bool{"": true, "first": false, "second": true} {
		a.Incarnation = incarnation
		if a.Standing(now) != want {
			t.Errorf("made for incarnation %q: %v", incarnation, !want)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 2, Burst: 3})
	at := time.Unix(1000, 0)
	l.now = func() time.Time { return at }
	for i := range 3 {
		if left, wait := l.Take("a"); wait != 0 || left != 2-i {
			t.Fatalf("request %d: %d left, wait %s", i, left, wait)
		}
	}
	if _, wait := l.Take("a"); wait != 500*time.Millisecond {
		t.Errorf("the fourth waits %s", wait)
	}
	if _, wait := l.Take("b"); wait != 0 {
		t.Error("another key waits")
	}
	at = at.Add(500 * time.Millisecond)
	if _, wait := l.Take("a"); wait != 0 {
		t.Error("after half a second it still waits")
	}
	at = at.Add(-time.Hour) // a clock that goes back gives nothing and takes nothing
	if _, wait := l.Take("a"); wait != 500*time.Millisecond {
		t.Errorf("after the clock went back: %s", wait)
	}
	for i := range 3 * mostBuckets {
		l.Take(fmt.Sprint(i))
	}
	if len(l.buckets) > mostBuckets {
		t.Errorf("%d buckets", len(l.buckets))
	}
}

func TestAudit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	a, err := OpenAudit(dir)
	if err != nil {
		t.Fatal(err)
	}
	a.part = 2000
	began := time.Now()
	for i := range 30 {
		if err := a.Write(Entry{Time: began.Add(time.Duration(i) * time.Millisecond), Principal: fmt.Sprint(i), Status: 200 + 200*(i%2)}); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) < 2 {
		t.Fatalf("nothing was set aside: %v", files)
	}
	check := func(most int, keep func(Entry) bool, want string) {
		t.Helper()
		all, err := a.Read(began, most, keep)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range all {
			got = append(got, e.Principal)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("read %v, want %s", got, want)
		}
	}
	check(3, func(Entry) bool { return true }, "29 28 27")
	check(100, func(e Entry) bool { return !e.Succeeded() && e.Principal < "2" }, "19 17 15 13 11 1")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash cut the last line off: it is lost, the next is not.
	f, err := os.OpenFile(filepath.Join(dir, auditFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"time":"20`)
	f.Close()
	if a, err = OpenAudit(dir); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Write(Entry{Time: began.Add(time.Second), Principal: "next"}); err != nil {
		t.Fatal(err)
	}
	check(2, func(Entry) bool { return true }, "next 29")
}

// A log that takes no entries says so until it does again.
func TestAuditOnAFullDisk(t *testing.T) {
	a, err := OpenAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	good := a.f
	a.f = full
	if a.Write(Entry{}) == nil || a.Ready() == nil {
		t.Error("a full disk went unnoticed")
	}
	a.f = good
	if err := a.Ready(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	full.Close()
	a.Close()
}
