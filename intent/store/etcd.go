package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// What etcd is told instead of its defaults, and why. Each raft entry is a whole request, so the number of entries kept in
// memory (snapshot count + catch-up) decides the memory of a store whose documents are large; the defaults keep 15,000.
const (
	maxRequestBytes  = 10 << 20    // a resource group with everything in it is deleted in one transaction
	maxTxnOps        = 100_000     //
	snapshotCount    = 250         // raft entries between two snapshots
	catchUpEntries   = 50          // raft entries kept for a slow member after a snapshot
	quotaBytes       = 8 << 30     // of live and dead pages; compaction keeps far below it
	tickMillis       = 50          // a lone member elects itself after one tick of its own
	electionMillis   = 500         //
	defragThreshold  = 128         // MiB of dead pages that are given back at start
	slow             = time.Second // what etcd warns of
	shutdownPatience = 5 * time.Second
)

// connect starts the embedded member, or dials the endpoints.
func (s *Store) connect(ctx context.Context) (err error) {
	lg := zapTo(s.log, &s.closing)
	if len(s.opt.Endpoints) > 0 {
		s.client, err = clientv3.New(clientv3.Config{
			Endpoints:          s.opt.Endpoints,
			DialTimeout:        5 * time.Second,
			MaxCallSendMsgSize: maxRequestBytes + 1<<20,
			MaxCallRecvMsgSize: math.MaxInt32,
			Logger:             lg,
		})
		return err
	}
	cfg, err := s.member(lg)
	if err != nil {
		return err
	}
	if s.etcd, err = embed.StartEtcd(cfg); err != nil {
		return fmt.Errorf("start etcd in %s: %w", s.opt.DataDir, err)
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
		err = errors.New("it stopped at once")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.etcd.Close()
		return fmt.Errorf("start etcd in %s: %w", s.opt.DataDir, err)
	}
	for _, name := range []string{"etcd.sock", "etcd-peer.sock"} {
		if s.opt.Cluster != nil && name == "etcd-peer.sock" {
			continue
		}
		if err := os.Chmod(filepath.Join(s.opt.RunDir, name), 0o600); err != nil {
			s.etcd.Close()
			return fmt.Errorf("socket of etcd: %w", err)
		}
	}
	s.client = v3client.New(s.etcd.Server) // function calls, no sockets
	if err := s.settleIn(ctx); err != nil {
		return errors.Join(fmt.Errorf("start etcd in %s: %w", s.opt.DataDir, err), s.disconnect())
	}
	return nil
}

// member is the configuration of the embedded member: unix sockets only.
func (s *Store) member(lg *zap.Logger) (*embed.Config, error) {
	// The data holds tenants' documents; whoever reaches the sockets can change them.
	for _, dir := range []string{s.opt.DataDir, s.opt.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("directory for etcd: %w", err)
		}
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = s.opt.Name, filepath.Join(s.opt.DataDir, "etcd")
	// Etcd takes the host part alone of a peer URL for the socket's path: with an empty one it would listen on an abstract
	// socket, which every user of the machine can reach.
	peer := s.socket("etcd-peer.sock")
	cfg.ListenPeerUrls = []url.URL{{Scheme: peer.Scheme, Host: peer.Path}}
	cfg.AdvertisePeerUrls = []url.URL{peer}
	cfg.ListenClientUrls = []url.URL{s.socket("etcd.sock")}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.InitialClusterToken = "ringfence"
	if s.opt.Cluster != nil {
		s.opt.Cluster.join(cfg)
	}
	cfg.MaxRequestBytes, cfg.MaxTxnOps = maxRequestBytes, maxTxnOps
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.QuotaBackendBytes = s.opt.Quota
	cfg.TickMs, cfg.ElectionMs = tickMillis, electionMillis
	cfg.BootstrapDefragThresholdMegabytes = defragThreshold
	cfg.WarningApplyDuration, cfg.WarningUnaryRequestDuration = slow, slow
	cfg.UnsafeNoFsync = s.opt.NoSync
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	cfg.EnableGRPCGateway = false
	return cfg, nil
}

func (s *Store) socket(name string) url.URL {
	return url.URL{Scheme: "unix", Path: filepath.Join(s.opt.RunDir, name)}
}

// Endpoints are where another server of this machine reaches the same etcd.
func (s *Store) Endpoints() []string {
	if s.etcd == nil {
		return s.opt.Endpoints
	}
	u := s.socket("etcd.sock")
	return []string{u.String()}
}

func (s *Store) disconnect() error {
	s.closing.Store(true)
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // the in-process client answers so when all is well
	}
	if s.etcd != nil {
		done := make(chan struct{})
		go func() { s.etcd.Close(); close(done) }()
		select {
		case <-done:
		case <-time.After(shutdownPatience):
			err = errors.Join(err, errors.New("etcd did not stop in time"))
		}
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
