package compile

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"ringfence/intent/resource"
)

// Memo remembers the parts of the last compilation, so that the next one makes only what has changed. A part is used again only
// when the contents that it was made from are equal. Several compilations may share a memo at the same time.
type Memo struct {
	mu     sync.Mutex
	tables *tables
}

// NewMemo returns an empty memo.
func NewMemo() *Memo { return &Memo{} }

// tables are the parts of one compilation. They are not changed after they were kept.
type tables struct {
	tags   *tags
	vnets  map[string]*vnetPart
	groups map[string]*groupPart
	zones  map[string]*zonePart
}

func newTables() *tables {
	return &tables{vnets: map[string]*vnetPart{}, groups: map[string]*groupPart{}, zones: map[string]*zonePart{}}
}

func (m *Memo) last() *tables {
	if m == nil {
		return newTables()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tables == nil {
		return newTables()
	}
	return m.tables
}

// keep replaces what is remembered: parts that the last compilation did not use are forgotten.
func (m *Memo) keep(t *tables) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables = t
}

func compareText(a, b string) int { return strings.Compare(a, b) }

func equalVM(a, b *resource.VM) bool {
	return a.ID == b.ID && a.HostName == b.HostName && a.Host == b.Host && a.Primary == b.Primary && slices.Equal(a.NICs, b.NICs) && equalFacts(&a.Facts, &b.Facts)
}

func equalFacts(a, b *resource.VMFacts) bool {
	x, y := *a, *b
	x.Keys, x.Tags, y.Keys, y.Tags = nil, nil, nil, nil
	return reflect.DeepEqual(x, y) && slices.Equal(a.Keys, b.Keys) && slices.Equal(a.Tags, b.Tags)
}

func equalNIC(a, b *resource.NIC) bool {
	return a.ID == b.ID && a.NSG == b.NSG && a.VM == b.VM && equalAttachment(a.Attachment, b.Attachment) && a.MAC == b.MAC && a.Port == b.Port &&
		slices.Equal(a.DNS, b.DNS) && slices.EqualFunc(a.IPConfigs, b.IPConfigs, equalIPConfig)
}

func equalAttachment(a, b *resource.Attachment) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func equalIPConfig(a, b resource.IPConfig) bool {
	return a.Name == b.Name && a.Primary == b.Primary && a.Subnet == b.Subnet && a.IP == b.IP && slices.Equal(a.ASGs, b.ASGs)
}

func equalSubnet(a, b *resource.Subnet) bool {
	return a.ID == b.ID && a.Name == b.Name && a.NSG == b.NSG && slices.Equal(a.Prefixes, b.Prefixes)
}

func equalVNet(a, b *resource.VNet) bool {
	return a.ID == b.ID && a.VNI == b.VNI && a.Domain == b.Domain && a.IdleMinutes == b.IdleMinutes &&
		slices.Equal(a.Prefixes, b.Prefixes) && slices.Equal(a.DNS, b.DNS)
}

func equalNSG(a, b *resource.NSG) bool {
	return a.ID == b.ID && a.Flush == b.Flush && a.Revision == b.Revision && slices.EqualFunc(a.Rules, b.Rules, equalRule)
}

func equalRule(a, b resource.SecurityRule) bool {
	return a.Name == b.Name && a.Revision == b.Revision && a.Priority == b.Priority && a.Inbound == b.Inbound && a.Allow == b.Allow && a.Protocol == b.Protocol &&
		equalSide(a.Src, b.Src) && equalSide(a.Dst, b.Dst)
}

func equalSide(a, b resource.RuleSide) bool {
	return slices.Equal(a.Prefixes, b.Prefixes) && slices.Equal(a.ASGs, b.ASGs) && slices.Equal(a.Ports, b.Ports)
}
