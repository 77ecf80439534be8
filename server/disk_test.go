package server

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// A machine's disks are documents that come with it, are there while it is, and go when it says so.
func TestDisksOfAMachine(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	p.must(network+"networkInterfaces/second", nic("a"))
	if r := p.do(http.MethodPut, compute+"availabilitySets/set", `{"location":"westeurope","sku":{"name":"Aligned"}}`); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	body := strings.Replace(vm("m2", "second", "host1"), `"osProfile"`, `"availabilitySet":{"id":"`+compute+`availabilitySets/set"},"storageProfile":{"osDisk":{"name":"root","createOption":"FromImage","managedDisk":{"storageAccountType":"Standard_LRS"}},
		"dataDisks":[{"lun":1,"name":"data","createOption":"Empty","diskSizeGB":4,"deleteOption":"Delete"}]},"osProfile"`, 1)
	p.must(compute+"virtualMachines/m2", body)
	has := func(path string, status int, want ...string) {
		t.Helper()
		r := p.do(http.MethodGet, path, "")
		for _, w := range want {
			if !bytes.Contains(r.body, []byte(w)) {
				t.Errorf("GET %s: no %s in %s", path, w, r.body)
			}
		}
		if r.status != status {
			t.Errorf("GET %s: %d %s", path, r.status, r.body)
		}
	}
	has(compute+"virtualMachines/m2", 200, `"name":"root"`, `"id":"`+compute+`disks/root"`)
	has(compute+"disks/root", 200, `"diskSizeGB":30`, `"diskState":"Attached"`, `"managedBy":"`+compute+`virtualMachines/m2"`, `"sku":{"name":"Standard_LRS"}`)
	has(compute+"disks/data", 200, `"diskSizeGB":4`)
	has(compute+"availabilitySets/set", 200, `"virtualMachines":[{"id":"`+compute+`virtualMachines/m2"}]`)
	for path, want := range map[string]string{compute + "disks/root": "is attached to VM", compute + "availabilitySets/set": "does not contain any VM"} {
		if r := p.do(http.MethodDelete, path, ""); r.status != 409 || !bytes.Contains(r.body, []byte(want)) {
			t.Errorf("DELETE %s: %d %s", path, r.status, r.body)
		}
	}
	p.must(network+"networkInterfaces/third", nic("a"))
	thief := strings.Replace(vm("m3", "third", "host1"), `"osProfile"`, `"storageProfile":{"osDisk":{"createOption":"Attach","osType":"Linux","managedDisk":{"id":"`+compute+`disks/root"}}},"osProfile"`, 1)
	if r := p.do(http.MethodPut, compute+"virtualMachines/m3", thief); r.status != 409 || !bytes.Contains(r.body, []byte("already owned by VM")) {
		t.Errorf("another machine takes the disk: %d %s", r.status, r.body)
	}
	if r := p.do(http.MethodDelete, compute+"virtualMachines/m2", ""); r.status != 200 {
		t.Fatalf("DELETE: %d %s", r.status, r.body)
	}
	has(compute+"disks/root", 200, `"diskState":"Unattached"`)
	has(compute+"disks/data", 404, "ResourceNotFound")
	for _, path := range []string{compute + "disks/root", compute + "availabilitySets/set"} {
		if r := p.do(http.MethodDelete, path, ""); r.status != 200 {
			t.Errorf("DELETE %s: %d %s", path, r.status, r.body)
		}
	}
}
