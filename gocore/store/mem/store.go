package mem

import (
	"context"
	"sync"
	"time"

	"mooncake_te/gocore/store"
)

// Store is one client of a Server.
type Store struct {
	server  *Server
	keys    store.Keys
	cluster string // prefix of our keys: which space of the server
	link    *Link

	closeOnce sync.Once
	closed    chan struct{}
	onClose   func() // of the registry of names
}

var _ store.Store = (*Store)(nil)

// Link is what lies between this client and the server.
func (s *Store) Link() *Link { return s.link }

// Info says that everything is kept.
func (s *Store) Info() store.Info {
	return store.Info{
		Kind: "mem", URL: s.url(), Keys: s.keys,
		Caps: store.Caps{Epochs: true, CompareAndSet: true, Leases: true, Push: true, NameEnumerable: true},
	}
}

func (s *Store) url() string { return "mem://" + s.server.options.Name }

// Close ends the watches and refuses everything after. Leases run out.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		if s.onClose != nil {
			s.onClose()
		}
	})
	return nil
}

// call is one round trip: request through the links, a step under the server's lock, the answer back.
func call[T any](ctx context.Context, s *Store, op string, write bool, step func(*Server, *space) (T, error)) (T, error) {
	var none T
	select {
	case <-s.closed:
		return none, store.Closed(op, s.url())
	default:
	}
	for _, link := range []*Link{s.link, s.server.link} {
		if err := link.pass(ctx, false); err != nil {
			return none, store.Unavailable(op, s.url(), err)
		}
	}
	s.server.mu.Lock()
	answer, failed := step(s.server, s.server.state.space(s.cluster))
	s.server.mu.Unlock()
	for _, link := range []*Link{s.server.link, s.link} {
		if err := link.pass(ctx, true); err != nil {
			lost := error(store.Unavailable(op, s.url(), err))
			if write {
				lost = store.Unknown(lost)
			}
			return none, lost
		}
	}
	return answer, failed
}

// Get reads a name.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	const op = "get"
	if err := store.CheckName(op, name); err != nil {
		return store.Record{}, err
	}
	return call(ctx, s, op, false, func(server *Server, sp *space) (store.Record, error) {
		return server.state.record(sp, name), nil
	})
}

// Acquire takes a name that nobody owns, or takes it over.
func (s *Store) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	const op = "acquire"
	if err := store.CheckAcquire(op, r); err != nil {
		return store.Ownership{}, err
	}
	return call(ctx, s, op, true, func(server *Server, sp *space) (store.Ownership, error) {
		if sp.storeID == "" {
			server.state.revision++
			sp.storeID = newID()
		}
		now := server.state.record(sp, r.Name)
		if now.Owner.Owned() && (r.Takeover == nil || !store.SameOwner(r.Takeover, &now)) {
			return store.Ownership{}, &store.OwnedError{Record: now}
		}
		if e := sp.names[r.Name]; e != nil {
			server.state.endLease(e.lease)
		}
		server.state.revision++
		o := store.Ownership{
			Name: r.Name, Instance: r.Instance, StoreID: sp.storeID, Epoch: server.state.revision, Lease: newID(),
		}
		sp.names[r.Name] = &entry{
			owner: store.Owner{Instance: o.Instance, StoreID: o.StoreID, Epoch: o.Epoch}, lease: o.Lease,
		}
		server.state.leases[o.Lease] = &lease{
			cluster: s.cluster, name: r.Name, ttl: r.TTL, ends: server.now() + r.TTL,
		}
		server.expire()
		server.tell(s.cluster, r.Name)
		return o, nil
	})
}

// Publish replaces the head.
func (s *Store) Publish(ctx context.Context, o store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	const op = "publish"
	if err := store.CheckPublish(op, s.url(), o, r); err != nil {
		return store.PublishResult{}, err
	}
	return call(ctx, s, op, true, func(server *Server, sp *space) (store.PublishResult, error) {
		now := server.state.record(sp, o.Name)
		if !o.Holds(&now) || now.HeadRevision != r.Last {
			return store.PublishResult{Lost: &now}, nil
		}
		server.state.revision++
		e := sp.names[o.Name]
		e.head, e.headRevision = append([]byte{}, r.Head...), server.state.revision
		for key, v := range sp.stock {
			if v.lease == e.lease {
				delete(sp.stock, key)
			}
		}
		for _, kv := range r.Stock {
			sp.stock[kv.Key] = stockValue{value: append([]byte{}, kv.Value...), lease: e.lease}
		}
		server.tell(s.cluster, o.Name)
		return store.PublishResult{Revision: e.headRevision}, nil
	})
}

// Renew extends the lease, if it still runs, and reads who owns the name.
func (s *Store) Renew(ctx context.Context, o store.Ownership) (store.Record, error) {
	return call(ctx, s, "renew", false, func(server *Server, sp *space) (store.Record, error) {
		if l := server.state.leases[o.Lease]; l != nil {
			l.ends = server.now() + l.ttl
			server.expire()
		}
		return server.state.record(sp, o.Name), nil
	})
}

// Release gives the name back.
func (s *Store) Release(ctx context.Context, o store.Ownership) error {
	_, err := call(ctx, s, "release", true, func(server *Server, _ *space) (struct{}, error) {
		if cluster, name, changed := server.state.endLease(o.Lease); changed {
			server.tell(cluster, name)
		}
		return struct{}{}, nil
	})
	return err
}

// Remake replaces the store ID.
func (s *Store) Remake(ctx context.Context, seen string) (string, error) {
	return call(ctx, s, "remake", true, func(server *Server, sp *space) (string, error) {
		if sp.storeID == seen {
			server.state.revision++
			sp.storeID = newID()
			server.breakWatches(s.cluster, errWentBack)
		}
		return sp.storeID, nil
	})
}

// Watch lists, then tells every change.
func (s *Store) Watch(ctx context.Context, f func(store.Event)) error {
	const op = "watch"
	w, err := call(ctx, s, op, false, func(server *Server, sp *space) (*watcher, error) {
		w := newWatcher(s.cluster, store.Event{Listing: server.state.listing(sp)})
		server.watchers[w] = struct{}{}
		return w, nil
	})
	if err != nil {
		return err
	}
	defer func() {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		delete(s.server.watchers, w)
	}()
	tick := time.NewTicker(s.server.options.Progress)
	defer tick.Stop()
	for {
		if err := w.run(ctx, s, tick.C, f); err != nil {
			return err
		}
	}
}
