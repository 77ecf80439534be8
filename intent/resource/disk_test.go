package resource

import (
	"strings"
	"testing"
)

const rg = "/subscriptions/s/resourceGroups/rg"

// machine puts a virtual machine with the given storage profile.
func machine(t *testing.T, old *Doc, storage string) *Doc {
	t.Helper()
	id, err := ParseID(rg + "/providers/Microsoft.Compute/virtualMachines/web")
	if err != nil {
		t.Fatal(err)
	}
	d, faults := Put(old, id, []byte(`{"location":"westeurope","properties":{"osProfile":{"linuxConfiguration":{}},"storageProfile":`+storage+`,
		"networkProfile":{"networkInterfaces":[{"id":"`+rg+`/providers/Microsoft.Network/networkInterfaces/n","properties":{"deleteOption":"Delete"}}]}}}`), "2024-03-01")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return d
}

func TestDisksComeAndGoWithTheirMachine(t *testing.T) {
	d := machine(t, nil, `{"imageReference":{"offer":"x"},"osDisk":{"createOption":"FromImage","managedDisk":{"storageAccountType":"Premium_LRS"}},
		"dataDisks":[{"lun":0,"createOption":"Empty","diskSizeGB":8,"name":"data","deleteOption":"Delete"},{"lun":1,"createOption":"Attach","managedDisk":{"id":"`+rg+`/providers/Microsoft.Compute/disks/old"}}]}`)
	brought := Brought(d)
	if len(brought) != 2 {
		t.Fatalf("%d disks come with the machine", len(brought))
	}
	os := brought[0]
	if !strings.HasPrefix(os.ID.Name(), "web_OsDisk_1_") || os.Location() != "westeurope" {
		t.Errorf("the disk is %s in %s", os.ID, os.Location())
	}
	if got := string(os.Body); !strings.Contains(got, `"diskSizeGB":30`) || !strings.Contains(got, `"Premium_LRS"`) || !strings.Contains(got, `"osType":"Linux"`) {
		t.Errorf("the disk: %s", got)
	}
	if got := string(brought[1].Body); brought[1].ID.Name() != "data" || !strings.Contains(got, `"diskSizeGB":8`) {
		t.Errorf("the data disk %s: %s", brought[1].ID, got)
	}
	if keys := Taken(d); len(keys) != 2 || !strings.HasSuffix(keys[0], "/disks/data") || !strings.HasSuffix(keys[1], "/networkinterfaces/n") {
		t.Errorf("with the machine goes %v", keys)
	}
	own := map[string]bool{}
	for _, r := range d.Refs() {
		if r.Kind == disk.Name {
			own[r.To[strings.LastIndexByte(r.To, '/')+1:]] = r.Own
		}
	}
	if len(own) != 3 || own["old"] || !own["data"] {
		t.Errorf("references to disks: %v", own)
	}
	again := machine(t, d, `{"osDisk":{"createOption":"FromImage"}}`)
	if got := Brought(again); len(got) != 1 || got[0].ID.Name() != os.ID.Name() {
		t.Errorf("a second PUT names another disk: %v", got)
	}
	if got := Brought(machine(t, nil, `{"osDisk":{"createOption":"FromImage","vhd":{"uri":"https://x"}}}`)); len(got) != 0 {
		t.Errorf("a disk that is a blob brings %v", got)
	}
}

// A machine must not make documents in somebody else's subscription or group.
func TestDisksLieBesideTheirMachine(t *testing.T) {
	for _, id := range []string{"/subscriptions/other/resourceGroups/rg/providers/Microsoft.Compute/disks/d", rg + "2/providers/Microsoft.Compute/disks/d",
		rg + "/providers/Microsoft.Network/networkInterfaces/n"} {
		d := machine(t, nil, `{"osDisk":{"createOption":"FromImage","managedDisk":{"id":"`+id+`"}}}`)
		if got := Brought(d); len(got) != 0 {
			t.Errorf("%s comes into being", id)
		}
		c := &check{doc: d, body: d.tree(), lk: newMemory(t)}
		c.disksAreFree()
		if len(c.faults) != 1 || c.faults[0].Code != "InvalidParameter" {
			t.Errorf("%s: %v", id, c.faults)
		}
	}
}
