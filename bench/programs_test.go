package main

import (
	"strings"
	"testing"
)

func TestParsePrograms(t *testing.T) {
	got := parsePrograms(strings.NewReader("goos: linux\nBenchmarkFlows/flows=65536-2         \t       1\t       145.6 B/entry\t       318.5 ns/packet\nPASS\nok  \tx\t1s\n"))
	if len(got) != 1 || got[0].Name != "Flows/flows=65536" || got[0].Metrics["B/entry"] != 145.6 || got[0].Metrics["ns/packet"] != 318.5 {
		t.Errorf("%+v", got)
	}
}
