package random_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// What a judged packet costs, by the number of rules: it says how many the slow twin can ask.
func BenchmarkJudge(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("rules=%d", size), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 4))
			var h *goal.Host
			for h == nil || len(h.Ports) < 4 {
				h = random.Hosts(r, size)[0]
			}
			m, traffic := model.New(h), random.NewTraffic(r, h)
			for b.Loop() {
				port, p := traffic.Next()
				m.Out(port, p)
			}
		})
	}
}

func BenchmarkHosts(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 5))
	for b.Loop() {
		for _, h := range random.Hosts(r, 1000) {
			if err := goal.Check(h); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkHash(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 6))
	h := random.Hosts(r, 1000)[0]
	for len(h.Groups) == 0 {
		h = random.Hosts(r, 1000)[0]
	}
	rules := 0
	for _, g := range h.Groups {
		rules += len(g.In) + len(g.Out)
	}
	for b.Loop() {
		goal.Hash(h)
	}
	b.ReportMetric(float64(rules), "rules")
}
