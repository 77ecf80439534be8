package publish

import (
	"io"
	"sync/atomic"
)

// counted counts what is written to a stream.
type counted struct {
	io.Writer
	n *atomic.Uint64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(uint64(n))
	return n, err
}

// Sent is the number of bytes given to all hosts' streams, before encryption.
func (p *Publisher) Sent() uint64 { return p.sent.Load() }
