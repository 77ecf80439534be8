package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cluster makes the embedded member one of several: it speaks with the others over mutual TLS.
type Cluster struct {
	Peer          string // IP:PORT of this member
	CA, Cert, Key string // PEM files; read anew with every connection
	ServerName    string // what every other member's certificate must carry
	Initial       string // NAME=URL,… of all members, as Invite gave it; empty: a store of its own
}

// Member is one member of the cluster.
type Member struct {
	Name    string `json:"name"` // empty before its first start
	Peer    string `json:"peer"`
	Learner bool   `json:"learner,omitempty"` // has no vote yet
	Leader  bool   `json:"leader,omitempty"`  // orders the writes now

	id uint64
}

// How a change of the members is tried: etcd refuses one while it does not see all members well.
const (
	memberTries = 100
	memberPause = 200 * time.Millisecond
)

func peerURL(peer string) url.URL { return url.URL{Scheme: "https", Host: peer} }

// join makes cfg that of a member among others.
func (c *Cluster) join(cfg *embed.Config) {
	at := peerURL(c.Peer)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{at}, []url.URL{at}
	cfg.PeerTLSInfo = transport.TLSInfo{CertFile: c.Cert, KeyFile: c.Key, TrustedCAFile: c.CA, ClientCertAuth: true,
		AllowedHostnames: []string{c.ServerName}, ServerName: c.ServerName}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if c.Initial != "" {
		cfg.InitialCluster, cfg.ClusterState = c.Initial, embed.ClusterStateFlagExisting
	}
}

// settleIn brings what the cluster knows of this member up to date: its address may be another than at its first start, and a new member
// gets its vote as soon as it has what the others have.
func (s *Store) settleIn(ctx context.Context) error {
	if s.opt.Cluster == nil {
		return nil
	}
	self := uint64(s.etcd.Server.MemberID())
	at := peerURL(s.opt.Cluster.Peer)
	return s.retry(ctx, func() error {
		list, err := s.client.MemberList(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list.Members, func(m *etcdserverpb.Member) bool { return m.ID == self })
		if i < 0 {
			return errors.New("the cluster does not know this member: it was removed, or has not heard of itself yet")
		}
		if !slices.Contains(list.Members[i].PeerURLs, at.String()) {
			if _, err := s.client.MemberUpdate(ctx, self, []string{at.String()}); err != nil {
				return fmt.Errorf("tell the others this member's address: %w", err)
			}
		}
		if !list.Members[i].IsLearner {
			return nil
		}
		_, err = s.client.MemberPromote(ctx, self)
		if errors.Is(err, rpctypes.ErrMemberNotLearner) || err != nil && strings.Contains(err.Error(), "can only promote a learner") {
			return nil
		}
		return err
	})
}

func (s *Store) retry(ctx context.Context, change func() error) error {
	for try := 1; ; try++ {
		err := change()
		if err == nil || try == memberTries {
			return err
		}
		select {
		case <-time.After(memberPause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Members lists the cluster, by name.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	var list *clientv3.MemberListResponse
	err := s.patient(ctx, func(ctx context.Context) (err error) {
		list, err = s.client.MemberList(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	var out []Member
	leader := uint64(0)
	if s.etcd != nil {
		leader = uint64(s.etcd.Server.Leader())
	}
	for _, m := range list.Members {
		out = append(out, Member{Name: m.Name, Peer: hostPort(m.PeerURLs), Learner: m.IsLearner, Leader: m.ID == leader, id: m.ID})
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name+"\x00"+a.Peer, b.Name+"\x00"+b.Peer) })
	return out, nil
}

func hostPort(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	u, err := url.Parse(urls[0])
	if err != nil || u.Host == "" {
		return urls[0]
	}
	return u.Host
}

// Invite adds a member without a vote, and says what it must be started with. One that was invited before and never came is invited anew.
func (s *Store) Invite(ctx context.Context, name, peer string) (initial string, err error) {
	at := peerURL(peer)
	if s.opt.Cluster == nil {
		return "", errors.New("invite a member: this store is that of one server alone")
	}
	members, err := s.Members(ctx)
	if err != nil {
		return "", err
	}
	known := false
	for _, m := range members {
		if m.Name == name {
			return "", fmt.Errorf("invite a member: %s is one already; remove it first if its data is lost", name)
		}
		if m.Peer != peer {
			continue
		}
		if m.Name != "" {
			return "", fmt.Errorf("invite a member: %s is the address of %s", peer, m.Name)
		}
		known = true
	}
	if !known {
		err := s.retry(ctx, func() error {
			_, err := s.client.MemberAddAsLearner(ctx, []string{at.String()})
			return err
		})
		if err != nil {
			return "", fmt.Errorf("invite a member: %w", err)
		}
	}
	parts := []string{name + "=" + at.String()}
	for _, m := range members {
		if m.Name != "" {
			u := peerURL(m.Peer)
			parts = append(parts, m.Name+"="+u.String())
		}
	}
	return strings.Join(parts, ","), nil
}

// RemoveMember takes a member out of the cluster for ever: what it is called may be a new one's afterwards.
func (s *Store) RemoveMember(ctx context.Context, name string) error {
	members, err := s.Members(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return fmt.Errorf("remove member %s: %w", name, ErrNoMember)
	}
	if len(members) == 1 {
		return fmt.Errorf("remove member %s: it is the only one", name)
	}
	err = s.retry(ctx, func() error {
		_, err := s.client.MemberRemove(ctx, members[i].id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove member %s: %w", name, err)
	}
	_, err = s.client.Delete(ctx, serverPrefix+name)
	return s.check("remove member "+name, err)
}

// ErrNoMember says that nobody of that name is in the cluster.
var ErrNoMember = errors.New("there is no such member")

// Ended is closed when the embedded etcd stopped by itself: this member was removed from the cluster, or its disk failed.
func (s *Store) Ended() <-chan struct{} {
	if s.etcd == nil {
		return nil
	}
	return s.etcd.Server.StopNotify()
}

// PutServer keeps what hosts and other servers want to know about one; Servers reads them all. No goal depends on it.
func (s *Store) PutServer(ctx context.Context, name string, value []byte) error {
	err := s.patient(ctx, func(ctx context.Context) error {
		_, err := s.client.Put(ctx, serverPrefix+name, string(value))
		return err
	})
	return s.check("record server "+name, err)
}

// Servers gives what PutServer kept, by name.
func (s *Store) Servers(ctx context.Context) (map[string][]byte, error) {
	got, err := s.client.Get(ctx, serverPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read servers: %w", err)
	}
	out := map[string][]byte{}
	for _, kv := range got.Kvs {
		out[string(kv.Key)[len(serverPrefix):]] = kv.Value
	}
	return out, nil
}
