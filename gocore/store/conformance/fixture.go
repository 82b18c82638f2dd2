package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// patience bounds every wait for something that must happen; it is not a measure of how fast it should.
const patience = 30 * time.Second

// fixture is one case's cluster and clients.
type fixture struct {
	*testing.T
	c       Case
	cluster string
	s       store.Store
	caps    store.Caps
	names   []string // of interest to stores that cannot list
}

// interested is what a store without a list implements: it polls the names that f returns.
type interested interface{ Interest(f func() []string) }

func newFixture(t *testing.T, c Case) *fixture {
	f := &fixture{T: t, c: c, cluster: "c-" + rand.Text()[:12], names: []string{"x", "y"}}
	f.s = f.open()
	f.caps = f.s.Info().Caps
	return f
}

// open makes one more client in the fixture's cluster.
func (f *fixture) open() store.Store {
	s := f.c.Open(f, f.cluster)
	f.adopt(s)
	return s
}

func (f *fixture) linked() (store.Store, Link) {
	s, link := f.c.Linked(f, f.cluster)
	f.adopt(s)
	return s, link
}

func (f *fixture) adopt(s store.Store) {
	if i, ok := s.(interested); ok {
		i.Interest(func() []string { return f.names })
	}
	f.Cleanup(func() { require.NoError(f, s.Close()) })
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	f.Cleanup(cancel)
	return ctx
}

func (f *fixture) request(name string) store.AcquireRequest {
	return store.AcquireRequest{Name: name, Instance: types.NewInstanceID(), TTL: time.Minute}
}

func (f *fixture) acquire(s store.Store, name string) store.Ownership {
	f.Helper()
	return f.acquireAs(s, f.request(name))
}

func (f *fixture) acquireAs(s store.Store, r store.AcquireRequest) store.Ownership {
	f.Helper()
	o, err := s.Acquire(f.ctx(), r)
	require.NoError(f, err)
	require.Equal(f, r.Name, o.Name)
	require.Equal(f, r.Instance, o.Instance)
	require.Equal(f, f.caps.Epochs, o.Epoch != 0, "epoch %d", o.Epoch)
	return o
}

// publish must land.
func (f *fixture) publish(s store.Store, o store.Ownership, last uint64, head string) uint64 {
	f.Helper()
	return f.publishAll(s, o, store.PublishRequest{Head: []byte(head), Last: last})
}

func (f *fixture) publishAll(s store.Store, o store.Ownership, r store.PublishRequest) uint64 {
	f.Helper()
	result, err := s.Publish(f.ctx(), o, r)
	require.NoError(f, err)
	require.Nil(f, result.Lost)
	if f.caps.CompareAndSet {
		require.Greater(f, result.Revision, r.Last)
	}
	return result.Revision
}

// lost must not land, and says what lies there.
func (f *fixture) lost(s store.Store, o store.Ownership, last uint64, head string) store.Record {
	f.Helper()
	result, err := s.Publish(f.ctx(), o, store.PublishRequest{Head: []byte(head), Last: last})
	require.NoError(f, err)
	require.NotNil(f, result.Lost, "published %q, revision %d", head, result.Revision)
	require.Zero(f, result.Revision)
	require.Equal(f, o.Name, result.Lost.Name)
	return *result.Lost
}

func (f *fixture) get(s store.Store, name string) store.Record {
	f.Helper()
	r, err := s.Get(f.ctx(), name)
	require.NoError(f, err)
	require.Equal(f, name, r.Name)
	return r
}

// until calls do, now and then, until it succeeds.
func (f *fixture) until(what string, do func() error) {
	f.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			require.NoError(f, err, what)
		case <-tick.C:
		}
	}
}

// back waits until a client reaches its server again.
func (f *fixture) back(s store.Store) {
	f.Helper()
	f.until("the store answers again", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := s.Get(ctx, "x")
		return err
	})
}

var errNotYet = errors.New("not yet")

// expired lets so much of a lease's time pass and waits until nobody owns the name.
func (f *fixture) expired(s store.Store, name string) {
	f.Helper()
	if f.c.Advance != nil {
		f.c.Advance(f.c.TTL + time.Second)
	}
	f.until("the lease runs out", func() error {
		if r := f.get(s, name); r.Owner.Owned() {
			return errNotYet
		}
		return nil
	})
}

// code asserts the code of an error and that the text names nothing secret.
func (f *fixture) code(want errcode.Code, err error) {
	f.Helper()
	require.Error(f, err)
	require.Equal(f, want, errcode.Of(err), "%v", err)
}

// owned must be refused, naming the present owner.
func (f *fixture) owned(s store.Store, r store.AcquireRequest) store.Record {
	f.Helper()
	_, err := s.Acquire(f.ctx(), r)
	f.code(errcode.SegmentOwned, err)
	var o *store.OwnedError
	require.ErrorAs(f, err, &o)
	require.Equal(f, r.Name, o.Record.Name)
	require.True(f, o.Record.Owner.Owned())
	return o.Record
}
