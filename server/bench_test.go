package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// fullNSG is an NSG of 1,000 rules with 4,000 prefixes; another n gives other rules.
func fullNSG(n int) string {
	var b strings.Builder
	b.WriteString(`{"location":"westeurope","properties":{"securityRules":[`)
	for i := range 1000 {
		if i > 0 {
			b.WriteByte(',')
		}
		var from []string
		for j := range 4 {
			k := i*4 + j
			from = append(from, fmt.Sprintf(`"198.%d.%d.0/24"`, k/256, k%256))
		}
		fmt.Fprintf(&b, `{"name":"r%d","properties":{"priority":%d,"direction":"Inbound","access":"Deny","protocol":"Tcp","sourceAddressPrefixes":[%s],
			"sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"%d"}}`, i, 100+i, strings.Join(from, ","), 1+(i+n)%60000)
	}
	b.WriteString(`]}}`)
	return b.String()
}

// BenchmarkReplaceFullNSG is an NSG of 1,000 rules replaced: from the request to the answer, with two hosts that obey at once. What a
// real host adds is measured in the lab.
func BenchmarkReplaceFullNSG(b *testing.B) {
	p := newPlane(b)
	p.twoHosts()
	p.network()
	n := 0
	for b.Loop() {
		n++
		if r := p.do(http.MethodPut, network+"networkSecurityGroups/n", fullNSG(n)); r.status != http.StatusOK {
			b.Fatalf("%d %s", r.status, r.body)
		}
	}
}

// BenchmarkSmallWriteAmongMany is an NSG of one rule replaced where 300 machines are.
func BenchmarkSmallWriteAmongMany(b *testing.B) {
	p := newPlane(b)
	p.twoHosts()
	p.network()
	for i := range 300 {
		name := fmt.Sprintf("x%d", i)
		if r := p.do(http.MethodPut, network+"networkInterfaces/"+name, wide(i)); r.status != http.StatusCreated {
			b.Fatalf("%d %s", r.status, r.body)
		}
		p.must(compute+"virtualMachines/"+name, vm(name, name, fmt.Sprintf("host%d", 1+i%2)))
	}
	n := 0
	for b.Loop() {
		n++
		p.must(network+"networkSecurityGroups/n", nsg(100+n%1000))
	}
}

// wide is an interface with an address of its own in a large subnet.
func wide(i int) string {
	subnet := "wide-" + "ab"[i%2:i%2+1]
	return strings.Replace(nic(subnet), `"properties":{"subnet"`,
		fmt.Sprintf(`"properties":{"privateIPAllocationMethod":"Static","privateIPAddress":"10.%d.%d.%d","subnet"`, 1+i%2, i/200, 10+i/2%100*2), 1)
}
