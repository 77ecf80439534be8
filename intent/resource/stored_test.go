package resource

import "testing"

func TestStoredForgetsThePast(t *testing.T) {
	id, err := ParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n")
	if err != nil {
		t.Fatal(err)
	}
	first := NewDoc(id, []byte(`{"location":"westus"}`))
	second, faults := Put(first, id, []byte(`{"location":"westus","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`), "2024-05-01")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	s := second.Stored(7)
	if s.was != nil || s.root != nil || s.Revision != 7 || string(s.Body) != string(second.Body) {
		t.Errorf("%+v", s)
	}
	if s.typed() != second.typed() {
		t.Error("the typed form is made anew")
	}
}
