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
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
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

func writeFrame(w io.Writer, m *message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("frame of %d bytes: at most %d expected", len(body), maxFrame)
	}
	out := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(out, uint32(len(body)))
	_, err = w.Write(append(out, body...))
	return err
}
