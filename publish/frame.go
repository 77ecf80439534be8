package publish

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of a frame's body. A stranger's first frame is small; a goal of thousands of ports and full groups is not.
const (
	maxFrame = 64 << 20
	maxHello = 4 << 20
)

var errFrame = errors.New("malformed frame")

// readFrame reads one frame of at most limit bytes. What is announced is not allocated before it has arrived.
func readFrame(r io.Reader, limit int) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n > int64(limit) {
		return nil, fmt.Errorf("%w: %d bytes announced, 1 to %d expected", errFrame, n, limit)
	}
	var body bytes.Buffer
	if got, err := io.CopyN(&body, r, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("frame of %d bytes ends after %d: %w", n, got, err)
	}
	return decode(body.Bytes())
}

func decode(body []byte) (*message, error) {
	var m message
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	if err := m.takeParts(body[d.InputOffset():]); err != nil {
		return nil, err
	}
	set := 0
	for _, is := range []bool{m.Hello != nil, m.Goal != nil, m.Ack != nil, m.Report != nil, m.Ask != nil, m.Answer != nil, m.Call != nil, m.Reply != nil,
		m.Beat != nil, m.Bye != nil, m.Join != nil, m.Joined != nil, m.Renew != nil, m.Servers != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, fmt.Errorf("%w: %d kinds of content, one expected", errFrame, set)
	}
	return &m, nil
}

// takeParts gives a goal the parts that follow its JSON; behind anything else nothing follows.
func (m *message) takeParts(rest []byte) error {
	if m.Goal != nil && len(m.Goal.Sizes) > 0 {
		for _, n := range m.Goal.Sizes {
			if n < 0 || n > len(rest) {
				return fmt.Errorf("%w: a part of %d bytes, %d are left", errFrame, n, len(rest))
			}
			m.Goal.Parts = append(m.Goal.Parts, rest[:n:n])
			rest = rest[n:]
		}
		m.Goal.Sizes = nil
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errFrame, len(rest))
	}
	return nil
}

// apart is a message as it is written: its JSON without the parts of a goal, and these.
func (m *message) apart() (*message, []json.RawMessage) {
	if m.Goal == nil || len(m.Goal.Parts) == 0 {
		return m, nil
	}
	f, out := *m.Goal, *m
	f.Parts, f.Sizes = nil, make([]int, len(m.Goal.Parts))
	for i, p := range m.Goal.Parts {
		f.Sizes[i] = len(p)
	}
	out.Goal = &f
	return &out, m.Goal.Parts
}

func writeFrame(w io.Writer, m *message) error {
	m, parts := m.apart()
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	for _, p := range parts {
		body = append(body, p...)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("frame of %d bytes: at most %d expected", len(body), maxFrame)
	}
	out := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(out, uint32(len(body)))
	_, err = w.Write(append(out, body...))
	return err
}
