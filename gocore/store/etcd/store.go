package etcd

import (
	"context"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// Store is one client of an etcd cluster.
type Store struct {
	options Options
	url     string
	client  *clientv3.Client
	auth    *authentication
	closed  atomic.Bool
	stock   stockKeys
}

var _ store.Store = (*Store)(nil)

// Open checks the options and reads the files; it does not connect, so it works while the servers are down.
func Open(o Options) (*Store, error) {
	o.filled()
	if len(o.Endpoints) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, openOp, "no endpoint is given").WithHint("etcd://host:2379")
	}
	s := &Store{options: o, url: o.url(), stock: stockKeys{byLease: map[string]map[string]bool{}}}
	s.auth = &authentication{user: o.User, password: o.Password, asking: make(chan struct{}, 1)}
	var err error
	s.client, err = dial(&s.options, s.auth)
	return s, err
}

// Info says that everything is kept.
func (s *Store) Info() store.Info {
	return store.Info{
		Kind: "etcd", URL: s.url, Keys: s.options.Keys,
		Caps: store.Caps{Epochs: true, CompareAndSet: true, Leases: true, Push: true, NameEnumerable: true},
	}
}

// Close ends connections and watches.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	_ = s.client.Close() // its error is that of its context, which it canceled itself
	return nil
}

// Get reads a name, linearizably.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	const op = "get"
	if err := store.CheckName(op, name); err != nil {
		return store.Record{}, err
	}
	return s.read(ctx, op, name)
}

// stockKeys remembers which stock keys lie on a lease of ours, so that a publish deletes those that it no longer has. What
// it does not know (of a former process) goes with the lease.
type stockKeys struct {
	mu      sync.Mutex
	byLease map[string]map[string]bool
}

// begin notes that these may lie there from now on, and returns those that are to be deleted.
func (k *stockKeys) begin(lease string, publish []store.StockKey) (gone []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.byLease[lease]
	wanted := map[string]bool{}
	for _, kv := range publish {
		wanted[kv.Key] = true
	}
	for key := range known {
		if !wanted[key] {
			gone = append(gone, key)
		}
	}
	if len(wanted) > 0 && known == nil {
		known = map[string]bool{}
		k.byLease[lease] = known
	}
	for key := range wanted {
		known[key] = true
	}
	return gone
}

// deleted notes that these lie there no more.
func (k *stockKeys) deleted(lease string, gone []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.byLease[lease]
	for _, key := range gone {
		delete(known, key)
	}
	if len(known) == 0 {
		delete(k.byLease, lease)
	}
}

// forget drops a lease that has ended.
func (k *stockKeys) forget(lease string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byLease, lease)
}
