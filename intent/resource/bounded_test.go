package resource

import (
	"strings"
	"testing"
)

// A body may hold a million mistakes: the answer names the first ones, and the time to find them grows with the body alone.
func TestMistakesAreBounded(t *testing.T) {
	for name, body := range map[string]string{
		"elements": `{"location":"westus2","properties":{"securityRules":[` + strings.TrimSuffix(strings.Repeat("{},", 1_000_000), ",") + `]}}`,
		"nulls":    `{"location":"westus2","properties":{"securityRules":[` + strings.TrimSuffix(strings.Repeat("null,", 800_000), ",") + `]}}`,
		"numbers":  `{"location":"westus2","properties":{"securityRules":[` + strings.TrimSuffix(strings.Repeat("7,", 2_000_000), ",") + `]}}`,
	} {
		_, faults := Decode(networkSecurityGroup, []byte(body))
		if len(faults) != 1 || len(faults[0].Details) != mostFaults {
			t.Errorf("%s: %d faults", name, len(faults))
		}
	}
}
