package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Machines are made and deleted again and again: namespaces, devices, links, handles and memory are what they were after the first round. A
// thousand with RINGFENCE_SOAK=1.
func TestMachinesComeAndGo(t *testing.T) {
	const tenant = "contoso"
	rounds, each := 4, 25
	if os.Getenv("RINGFENCE_SOAK") == "1" {
		rounds, each = 20, 50
	}
	l := newLab(t, 2)
	l.vnet(tenant)
	template := filepath.Join(t.TempDir(), "machines.json")
	if err := os.WriteFile(template, []byte(l.machines(tenant, each)), 0o600); err != nil {
		t.Fatal(err)
	}
	var first, now leftovers
	for i := range rounds {
		l.must("group", "create", "-n", "c", "-l", "westeurope", "--as", tenant)
		l.must("deploy", "-g", "c", "-f", template, "--as", tenant)
		if n := strings.Count(l.must("rest", "GET", "/ringfence/v1/sandboxes"), `"netns"`); n != each {
			t.Errorf("round %d: %d machines", i, n)
		}
		group := strings.TrimSuffix(l.path(tenant, ""), "/g") + "/c"
		l.must("rest", "DELETE", group, "--as", tenant)
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if now = l.leftovers(); now.kernel == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("round %d: %d namespaces, devices and links are left", i, now.kernel)
			}
		}
		if i == 0 {
			first = now
		}
		t.Logf("round %d: %+v", i, now)
	}
	for program, files := range first.files {
		if now.files[program] > files+3 {
			t.Errorf("%s has %d files open, had %d", program, now.files[program], files)
		}
		if now.memory[program] > first.memory[program]+32<<10 {
			t.Errorf("%s has %d KiB, had %d", program, now.memory[program], first.memory[program])
		}
	}
}

// machines is a template of n machines with their interfaces.
func (l *lab) machines(tenant string, n int) string {
	var all []string
	subnet := l.path(tenant, network+"virtualNetworks/v/subnets/b")
	for i := range n {
		nic := fmt.Sprintf("c%d-nic", i)
		all = append(all, fmt.Sprintf(`{"type":"Microsoft.Network/networkInterfaces","apiVersion":"2024-05-01","name":"%s","location":"westeurope",
			"properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"%s"}}}]}}`, nic, subnet),
			fmt.Sprintf(`{"type":"Microsoft.Compute/virtualMachines","apiVersion":"2024-07-01","name":"c%d","location":"westeurope","tags":{"ringfence-host":"host%d"},
			"dependsOn":["[resourceId('Microsoft.Network/networkInterfaces','%s')]"],"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"osProfile":{"computerName":"c%d"},
			"networkProfile":{"networkInterfaces":[{"id":"[resourceId('Microsoft.Network/networkInterfaces','%s')]"}]}}}`, i, 1+i%2, nic, i, nic))
	}
	return `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[` + strings.Join(all, ",") + `]}`
}

// leftovers is what machines may leave behind: in the kernel, and by program open files and KiB of memory.
type leftovers struct {
	kernel        int
	files, memory map[string]int
}

func (l *lab) leftovers() leftovers {
	l.t.Helper()
	out := leftovers{files: map[string]int{}, memory: map[string]int{}}
	pids := map[string]int{}
	for _, p := range l.State.Processes {
		pids[p.Name] = p.PID
	}
	for _, h := range l.State.Hosts {
		pids[h.Name+"'s services"] = l.serving(h.Name)
		machines, _ := filepath.Glob("/run/netns/rf-" + l.name + "-" + h.Name + "-*")
		out.kernel += l.kernel(h.Name) - len(machines)
		for _, ns := range machines {
			if !strings.HasSuffix(ns, "-svc") {
				out.kernel++
			}
		}
	}
	for name, pid := range pids {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			l.t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			l.t.Fatal(err)
		}
		out.files[name] = len(files)
		if m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status); m != nil {
			out.memory[name], _ = strconv.Atoi(string(m[1]))
		}
	}
	return out
}

// links are the eBPF links that a host's agent holds, each with its program.
func (l *lab) links(host string) (out []string) {
	l.t.Helper()
	id := regexp.MustCompile(`(?s)link_id:\s+(\d+).*prog_id:\s+(\d+)`)
	for _, p := range l.State.Processes {
		if p.Name != host {
			continue
		}
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p.PID))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			if m := id.FindSubmatch(text); m != nil {
				out = append(out, string(m[1])+" "+string(m[2]))
			}
		}
	}
	slices.Sort(out)
	return out
}
