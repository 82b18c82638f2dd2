package cluster

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/mem"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must happen; it only matters when it does not.
const patience = 30 * time.Second

// owner is an Announcer with a segment that only has a version.
type owner struct {
	*Announcer
	t        *testing.T
	instance types.InstanceID

	mu      sync.Mutex
	version types.Version
	events  []string
}

func random() func() uint64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2))
	return func() uint64 { mu.Lock(); defer mu.Unlock(); return r.Uint64() }
}

func newOwner(t *testing.T, s store.Store, name string) *owner {
	o := &owner{t: t, instance: types.NewInstanceID(), version: 10}
	o.Announcer = NewAnnouncer(AnnouncerConfig{
		Store: s, Name: name, Instance: o.instance, Random: random(), Now: BootTime,
		TTL: 3 * time.Second, Renew: 200 * time.Millisecond, Timeout: time.Second,
		Render: func(epoch uint64, storeID string) (Document, error) {
			v := o.now()
			head := &descriptor.Head{
				Name: name, Instance: o.instance, Epoch: epoch, StoreID: storeID, Version: v, Addresses: []string{"127.0.0.1:1"},
			}
			return Document{Version: v, Head: descriptor.EncodeHead(head)}, nil
		},
		RaiseVersion: func(above types.Version) types.Version {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.version = max(o.version, above) + 1
			return o.version
		},
		Logger: slog.New(slog.DiscardHandler), Requested: func(string, error) {},
		Event: func(ev string) { o.mu.Lock(); defer o.mu.Unlock(); o.events = append(o.events, ev) },
	})
	t.Cleanup(o.Close)
	o.Changed(10)
	return o
}

func (o *owner) now() types.Version {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.version
}

func (o *owner) step() {
	o.mu.Lock()
	o.version++
	v := o.version
	o.mu.Unlock()
	o.Changed(v)
}

func (o *owner) seen(ev string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e == ev {
			return true
		}
	}
	return false
}

func (o *owner) claims(takeover bool) error {
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	return o.Claim(ctx, takeover, 0)
}

// reader is a Resolver whose instances all answer, unless they are dead.
type reader struct {
	*Resolver[types.InstanceID]
	mu      sync.Mutex
	dead    map[types.InstanceID]bool
	leads   map[string]types.InstanceID
	adopted int
	void    int
}

func newReader(t *testing.T, s store.Store) *reader {
	r := &reader{dead: map[types.InstanceID]bool{}, leads: map[string]types.InstanceID{}}
	r.Resolver = NewResolver(ResolverConfig[types.InstanceID]{
		Store: s, Random: random(), Now: BootTime, SoftTTL: time.Second, Timeout: time.Second, BindTimeout: time.Second,
		Bind: func(_ context.Context, h *descriptor.Head) (types.InstanceID, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.dead[h.Instance] {
				return types.InstanceID{}, errDead
			}
			return h.Instance, nil
		},
		Adopted: func(name string, id types.InstanceID, bound *types.InstanceID) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.adopted++
			if bound != nil {
				r.leads[name] = *bound
			}
			if r.leads[name] != id {
				panic("adopted without having been bound")
			}
		},
		Void: func(types.InstanceID) { r.mu.Lock(); defer r.mu.Unlock(); r.void++ },
		Seen: func(string, uint64) {}, Owned: nil, Own: "",
		Logger: slog.New(slog.DiscardHandler), Requested: func(string, error) {}, Event: func(string) {},
	})
	t.Cleanup(r.Shut)
	return r
}

func (r *reader) lead(name string) types.InstanceID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leads[name]
}

func (r *reader) kill(id types.InstanceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[id] = true
}

func (r *reader) opens(t *testing.T, name string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return r.Open(ctx, name, false)
}

var errDead = errcode.New(errcode.PeerUnreachable, "dial", "connection refused")

func server(t *testing.T) *mem.Server {
	return mem.NewServer(mem.Options{Name: t.Name(), Progress: 50 * time.Millisecond})
}

func client(t *testing.T, s *mem.Server) store.Store {
	c := s.Open(store.Keys{})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
