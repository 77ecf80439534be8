package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// getCapture streams the packets at the port of ?vm=, a line of JSON each with at most ?snap= bytes, until the client goes away. Lines without data
// say what is missing: packets that found no room, a host that does not answer.
func (v *Server) getCapture(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	host, port, ok := v.portOf(q.Get("vm"))
	if !ok {
		fail(w, http.StatusNotFound, "VirtualMachineNotFound", "Virtual machine "+q.Get("vm")+" is on no host.")
		return
	}
	if n, err := strconv.Atoi(q.Get("snap")); err != nil || n < 1 || n > 65535 {
		fail(w, http.StatusBadRequest, "InvalidParameter", "snap: 1 to 65535 bytes expected.")
		return
	}
	ask := url.Values{"id": {rand.Text()}, "port": {fmt.Sprint(port.Index)}, "snap": {q.Get("snap")}, "wait": {pollWait.String()}}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	begin := url.Values{}
	for k, all := range ask {
		begin[k] = all
	}
	begin.Set("wait", "50ms")
	first, err := v.publisher.Ask(ctx, host, "capture?"+begin.Encode()) // whether it can
	if err != nil {
		fail(w, http.StatusConflict, "CaptureRefused", err.Error())
		return
	}
	s := v.stream(w, r)
	defer s.end()
	s.put(map[string]any{"host": host, "capturing": port.Index})
	var lost uint64
	take := func(body json.RawMessage) error {
		var got struct {
			Packets []map[string]any
			Lost    uint64
		}
		if err := json.Unmarshal(body, &got); err != nil {
			return fmt.Errorf("host %s: capture: %w", host, err)
		}
		lines := make([]any, 0, len(got.Packets)+1)
		for _, p := range got.Packets {
			p["host"] = host
			lines = append(lines, p)
		}
		if got.Lost < lost { // an agent that began anew
			lost = 0
		}
		if got.Lost > lost {
			lines = append(lines, map[string]any{"host": host, "lost": got.Lost - lost})
		}
		lost = got.Lost
		if len(lines) > 0 {
			s.put(lines...)
		}
		return nil
	}
	if err := take(first); err == nil {
		v.poll(s, host, func() string { return "capture?" + ask.Encode() }, take)
	}
	ask.Set("end", "true")
	last, done := context.WithTimeout(context.WithoutCancel(r.Context()), time.Second)
	defer done()
	if _, err := v.publisher.Ask(last, host, "capture?"+ask.Encode()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		v.log.Debug("end of a capture", "host", host, "error", err) // it ends by itself when nobody asks
	}
}
