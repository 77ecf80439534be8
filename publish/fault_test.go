package publish

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/pki"
)

// A goal that is torn on its way, cut or changed anywhere in a part, is not handed out; what the host has stays, and it asks for all parts.
func TestTornGoal(t *testing.T) {
	var e encoder
	manifestOf := func(g *goal.Host) *manifest {
		e.next()
		m, err := e.take(g)
		must(t, err)
		return m
	}
	one, two := manifestOf(aGoal(1, aGroup("/nsg", 3))), manifestOf(aGoal(2, aGroup("/nsg", 4)))
	for name, tear := range map[string]func(f *goalFrame){
		"cut":     func(f *goalFrame) { f.Parts[0] = f.Parts[0][:len(f.Parts[0])/2] },
		"changed": func(f *goalFrame) { f.Parts[0] = bytes.Clone(f.Parts[0]); f.Parts[0][len(f.Parts[0])/2] ^= 1 },
		"missing": func(f *goalFrame) { f.Parts = nil },
	} {
		c := NewClient(ClientOptions{Hello: func() Hello { return Hello{} }})
		must(t, c.receive(one.lacking(nil, 1)))
		<-c.Goals()
		f := two.lacking(one.names(), 2)
		if len(f.Parts) != 1 {
			t.Fatalf("%d parts", len(f.Parts))
		}
		tear(f)
		if err := c.receive(f); err == nil || !strings.Contains(err.Error(), "goal 2: part") {
			t.Errorf("%s: %v", name, err)
		}
		select {
		case g := <-c.Goals():
			t.Errorf("%s: goal %d was handed out", name, g.Generation)
		default:
		}
		if have := c.assembly.have(); c.newest != 1 || len(have) != 0 {
			t.Errorf("%s: the newest is %d, and it says to have %v", name, c.newest, have)
		}
		must(t, c.receive(two.lacking(nil, 2)))
		if g := <-c.Goals(); goal.Text(g) != goal.Text(aGoal(2, aGroup("/nsg", 4))) {
			t.Errorf("%s: then came %s", name, goal.Text(g))
		}
	}
}

// The host's clock jumps past its certificate's end, and back: the stream that is open goes on; a new one is not begun, and the reason said, as
// long as the clock says so; then all goes on by itself.
func TestClockJumpsPastTheCertificate(t *testing.T) {
	i := install(t, newCA(t), Options{Beat: 100 * time.Millisecond})
	give(t, i.Publisher, 1)
	files := i.host(t, "host1", time.Now(), pki.Life)
	var off atomic.Int64
	var said atomic.Bool
	c, _ := i.call(t, "host1", files, func(o *ClientOptions) {
		o.Beat = 100 * time.Millisecond
		o.Renew = Renewal{Due: func() (error, bool) {
			leaf, err := pki.Pair{Cert: files.Cert, Key: files.Key}.Leaf()
			if err != nil {
				return err, false
			}
			ended := Expired(leaf, time.Now().Add(time.Duration(off.Load())))
			said.Store(ended != nil && strings.Contains(ended.Error(), "check the clocks"))
			return ended, false
		}, Request: func() ([]byte, error) { return nil, errors.New("nobody asked") }}
	})
	next(t, c)
	since := i.status("host1").Since
	off.Store(int64(2 * pki.Life))
	give(t, i.Publisher, 2)
	c.Ack(1, "")
	eventually(t, "looked at the certificate", said.Load)
	if s := i.status("host1"); !s.Connected || !s.Since.Equal(since) {
		t.Errorf("the stream did not go on: %+v", s)
	}
	sever := func() {
		i.mu.Lock()
		s := i.hosts["host1"].session
		i.mu.Unlock()
		if s != nil {
			s.end()
		}
	}
	sever()
	eventually(t, "disconnected", func() bool { return !i.status("host1").Connected })
	time.Sleep(500 * time.Millisecond)
	if i.status("host1").Connected {
		t.Error("connected with a certificate that its own clock calls expired")
	}
	off.Store(0)
	eventually(t, "connected again", func() bool { return i.status("host1").Connected })
}
