package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

type dropsCommand struct {
	watchFlags
	Events bool `help:"The newest dropped packets one by one, instead of counters."`
	Follow bool `short:"f" help:"Dropped packets as they happen, until interrupted."`
}

func (dropsCommand) Help() string {
	return "Every dropped packet has one named reason and, where a rule decided, the rule and the revision that brought it.\n\nExamples:\n  ringfence drops\n  ringfence drops --vm db1 --follow\n  ringfence drops --events -g shop\n  ringfence drops -o json --query '[?layer==`acl`]'"
}

func (c *dropsCommand) Run(a *app) error {
	why := []column{{"Layer", "layer"}, {"Reason", "reason"}, {"SecurityGroup", "group"}, {"Rule", "rule"}, {"Revision", "revision"}, {"Text", "text"}}
	packet := []column{{"Direction", "direction"}, {"Protocol", "protocol"}, {"Source", "source"}, {"Port", "sourcePort"},
		{"Destination", "destination"}, {"Port", "destinationPort"}}
	switch {
	case c.Follow:
		columns := slices.Concat([]column{{"Time", "time"}}, watchColumns(), packet, why[:len(why)-1])
		return c.follow(a, columns)
	case c.Events:
		return c.show(a, "events", append(packet, why...)...)
	}
	return c.show(a, "drops", append([]column{{"Direction", "direction"}, {"Packets", "packets"}}, why...)...)
}

// follow prints what the server streams until it is interrupted.
func (c *dropsCommand) follow(a *app, columns []column) error {
	if err := c.known(a); err != nil {
		return err
	}
	keep, err := c.keep(a)
	if err != nil {
		return err
	}
	cl, err := a.operator()
	if err != nil {
		return err
	}
	body, err := cl.open(a.ctx, "/ringfence/v1/follow?"+c.query().Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	rows := &rowPrinter{a: a, columns: columns}
	names := (&session{client: cl, app: a}).subscriptionNames()
	err = lines(body, func(v map[string]any) error {
		if v["reason"] == nil {
			return a.aside(v)
		}
		if !keep(v) {
			return nil
		}
		names.name([]any{v})
		return rows.print(v)
	})
	if a.ctx.Err() != nil {
		return nil // who follows ends it
	}
	if err == nil {
		err = fmt.Errorf("the control plane has ended the stream")
	}
	return err
}

// lines reads a stream of JSON objects, one a line.
func lines(r io.Reader, each func(map[string]any) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), 64<<20)
	for in.Scan() {
		var v map[string]any
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
	return in.Err()
}

// aside tells what a stream does not hold, on standard error: packets that were only counted, hosts that do not answer.
func (a *app) aside(v map[string]any) error {
	host := text(v, "host")
	switch {
	case v["untold"] != nil:
		more, _ := v["untold"].(map[string]any)
		for _, reason := range slices.Sorted(maps.Keys(more)) {
			fmt.Fprintf(a.err, "ringfence: host %s: %s more packets dropped as %s, counted and not shown\n", host, cell(more[reason]), reason)
		}
	case v["missed"] != nil:
		fmt.Fprintf(a.err, "ringfence: host %s: %s events came too fast to be read\n", host, cell(v["missed"]))
	case v["lost"] != nil:
		fmt.Fprintf(a.err, "ringfence: host %s: %s packets found no room and are not in the capture\n", host, cell(v["lost"]))
	case v["missing"] != nil:
		fmt.Fprintf(a.err, "ringfence: host %s does not answer: %s\n", host, cell(v["missing"]))
	}
	return nil
}

// open begins a request whose answer goes on for as long as the caller likes.
func (c *client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the control plane does not answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return nil, decodeError(resp.StatusCode, b)
	}
	return resp.Body, nil
}
