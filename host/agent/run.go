package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"ringfence/host/agent/serving"
	"ringfence/host/datapath"
	"ringfence/host/kernel/netdev"
	"ringfence/host/sandbox"
	"ringfence/host/services"
	"ringfence/observe"
	"ringfence/observe/journal"
	"ringfence/publish"
)

// Version is what the agent tells the control plane.
var Version = publish.Version()

// Device names and sizes of the tunnel.
const (
	tunnelDevice = "rfvxlan"
	tunnelPort   = 4789
	tunnelCost   = 50 // bytes of outer headers over IPv4
)

// Run is the life of an agent process, in the host's network namespace: it ends with ctx and leaves the kernel as it is.
func Run(ctx context.Context, c Config) error {
	log := journal.New(os.Stderr, c.Log, "host", c.Name)
	if err := datapath.Probe(); err != nil {
		return fmt.Errorf("this kernel cannot carry Ringfence: %w", err)
	}
	tlsConfig, err := c.ClientTLS(c.ServerName)
	if err != nil {
		return err
	}
	mtu, err := underlayMTU(c.Underlay)
	if err != nil {
		return err
	}
	relearn, err := c.relearn()
	if err != nil {
		return err
	}
	dp, err := datapath.Open(datapath.Options{Pin: c.BPFFS, Instance: c.Instance, Underlay: c.Underlay.Address, UnderlayMTU: mtu, Relearn: relearn,
		Log: journal.Component(log, "datapath")})
	if err != nil {
		return err
	}
	defer dp.Close()
	boxes, err := sandbox.New(sandbox.Options{Instance: c.Instance, Host: c.Name, RunDir: c.RunDir, Log: journal.Component(log, "sandbox"), Attach: dp.AttachPort})
	if err != nil {
		return err
	}
	var a *Agent
	stream := publish.NewClient(publish.ClientOptions{Server: c.Server, TLS: tlsConfig, Log: journal.Component(log, "publish"),
		More: c.servers(log), Keep: c.keepServers(log), Renew: c.renewal(),
		Hello: func() publish.Hello {
			return publish.Hello{Host: c.Name, Underlay: c.Underlay.Address, Generation: dp.Generation(), Version: Version, Capacity: c.Capacity}
		},
		Answer: func(kind string) (json.RawMessage, error) { return a.Answer(kind) },
	})
	fabric := &fabric{c: c, dp: dp, log: log, mtu: mtu, lost: make(chan struct{}, 1)}
	defer fabric.close()
	a = New(Deps{Datapath: dp, Sandboxes: boxes, Fabric: fabric, Lost: fabric.lost, Stream: stream, Log: journal.Component(log, "agent"),
		Machine: func() []observe.Finding { return append(machine(c), fabric.tampered.Load().findings(time.Now())...) }})
	r := &reception{board: &a.board, sandboxes: boxes, call: stream.Call, connected: stream.Connected, since: stream.Since, log: journal.Component(log, "local")}
	return a.live(ctx, stream, dp.Events, func(ctx context.Context) error { return r.serveLocal(ctx, c.RunDir) })
}

// live runs the stream and the events beside the loop.
func (a *Agent) live(ctx context.Context, stream *publish.Client, events func(context.Context, func(observe.Event)) error, serve func(context.Context) error) error {
	ended := make(chan struct{}, 4)
	go func() {
		a.watchDevices(ctx)
		ended <- struct{}{}
	}()
	go func() {
		if err := serve(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error("nothing can be attached on this host: local socket", "error", err)
		}
		ended <- struct{}{}
	}()
	go func() {
		stream.Run(ctx)
		ended <- struct{}{}
	}()
	go func() {
		if err := a.Watch(ctx, events); err != nil && ctx.Err() == nil {
			a.Log.Warn("events of dropped packets ended", "error", err)
		}
		ended <- struct{}{}
	}()
	a.Log.Info("agent started", "version", Version, "generation", a.Datapath.Generation())
	a.Loop(ctx)
	for range cap(ended) {
		<-ended
	}
	a.Log.Info("agent ends; what is programmed stays in force")
	return nil
}

// watchDevices tells the loop which devices go, and which are up, until ctx ends. Where the kernel could not say, the next look at everything finds it.
func (a *Agent) watchDevices(ctx context.Context) {
	for ctx.Err() == nil {
		err := netdev.Watch(ctx, func(e netdev.Event) {
			select {
			case a.seen <- e:
			case <-ctx.Done():
			}
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		a.Log.Warn("devices that go are noticed late", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// underlayMTU says what the tunnel's packets may measure; the device must have the configured address.
func underlayMTU(u Underlay) (mtu int, err error) {
	err = netdev.With("", func(c *netdev.Conn) error {
		l, ok, err := c.Link(u.Device)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("underlay device %s: there is none", u.Device)
		}
		have, err := c.Addresses(u.Device)
		if err != nil {
			return err
		}
		for _, p := range have {
			if p.Addr() == u.Address {
				mtu = l.MTU
				return nil
			}
		}
		return fmt.Errorf("underlay device %s: it has not the address %s", u.Device, u.Address)
	})
	return mtu, err
}

// fabric is the host's own devices: made once per process, when the first goal is there.
type fabric struct {
	c        Config
	dp       *datapath.Datapath
	log      *slog.Logger
	mtu      int
	run      *serving.Keeper // nil while nothing is served
	svc      services.Link
	tampered atomic.Pointer[tampering]
	lost     chan struct{} // told when the service namespace is not what was made
}

// Ensure makes the tunnel and the service pair, attaches the programs and has the services run. All of it may be there already.
func (f *fabric) Ensure() (Services, error) {
	if err := f.repin(); err != nil {
		return nil, err
	}
	if err := f.devices(); err != nil {
		return nil, fmt.Errorf("host's devices: %w", err)
	}
	svc, err := services.Ensure(f.c.Instance, f.c.Name)
	if err != nil {
		return nil, err
	}
	if err := f.dp.AttachService(svc.Index); err != nil {
		return nil, fmt.Errorf("attach to %s: %w", services.Device, err)
	}
	if f.run != nil && svc == f.svc {
		return f.run, nil
	}
	f.close()
	f.svc = svc
	f.run = serving.Keep(serving.Options{Dir: f.c.RunDir, Host: f.c.Name, Namespace: svc.Namespace, Level: f.c.Log, Log: journal.Component(f.log, "services")},
		svc.Whole, f.complain)
	return f.run, nil
}

// repin puts back pins that somebody removed. Nothing was open meanwhile, but would have been with the agent's end: the operator shall know.
func (f *fabric) repin() error {
	put, err := f.dp.Restore()
	if len(put) > 0 {
		f.log.Warn("pins were removed by somebody else and are put back", "pins", len(put), "one", put[0])
		f.tampered.Store(&tampering{pins: len(put), at: time.Now()})
	}
	return err
}

// tampering is that pins were removed, at some time since the last look.
type tampering struct {
	pins int
	at   time.Time
}

// remembered is how long a host says that its pins were removed.
const remembered = 10 * time.Minute

func (t *tampering) findings(now time.Time) []observe.Finding {
	if t == nil || now.Sub(t.at) > remembered {
		return nil
	}
	return []observe.Finding{{State: observe.Warn, Topic: "pins", What: fmt.Sprintf("%d pins were removed by somebody else and put back at %s", t.pins, t.at.UTC().Format(time.RFC3339)),
		Cure: "find out who removes files below /sys/fs/bpf: without pins, what is enforced ends with the agent"}}
}

// complain has the loop look at everything again, soon.
func (f *fabric) complain() {
	select {
	case f.lost <- struct{}{}:
	default:
	}
}

// receiveOnce has segments put together at the tunnel only where nothing below has done it: the underlay's GRO, which looks into VXLAN,
// or a veth, which carries whole what was never cut. Twice costs every packet, and an acknowledgement or datagram another queue.
func receiveOnce(c *netdev.Conn, underlay string) error {
	l, ok, err := c.Link(underlay)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("underlay device %s: there is none", underlay)
	}
	below, err := c.GRO(underlay)
	if err != nil {
		return err
	}
	return c.SetGRO(tunnelDevice, !below && l.Kind != "veth")
}

// devices makes the tunnel and closes the uplink.
func (f *fabric) devices() error {
	return netdev.With("", func(c *netdev.Conn) error {
		index, err := c.EnsureVXLAN(tunnelDevice, tunnelPort, f.mtu-tunnelCost)
		if err != nil {
			return err
		}
		if err := f.dp.AttachOverlay(index); err != nil {
			return fmt.Errorf("attach to %s: %w", tunnelDevice, err)
		}
		quiet := netdev.Sysctl{Key: "net/ipv6/conf/" + tunnelDevice + "/disable_ipv6", Value: "1", Optional: true}
		if err := netdev.SetSysctls("", quiet); err != nil {
			return err
		}
		if err := c.SetARP(tunnelDevice, false); err != nil {
			return err
		}
		if err := receiveOnce(c, f.c.Underlay.Device); err != nil {
			return err
		}
		if err := c.Up(tunnelDevice); err != nil {
			return err
		}
		if f.c.Uplink.Device == "" {
			return nil
		}
		l, ok, err := c.Link(f.c.Uplink.Device)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("uplink device %s: there is none", f.c.Uplink.Device)
		}
		return f.dp.AttachUplink(l.Index)
	})
}

func (f *fabric) close() {
	if f.run != nil {
		f.run.Close()
		f.run = nil
	}
}

// Serve is the life of the services' process that an agent has started.
func Serve(ctx context.Context, dir, host, namespace, level string) error {
	log := journal.New(os.Stderr, level, "host", host)
	return serving.Run(ctx, serving.Options{Dir: dir, Namespace: namespace, Level: level, Log: log})
}
