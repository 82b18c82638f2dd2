package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// What stood in the way of a name earlier is not the reason why it cannot be had now.
func TestAnErrorHasNoCauseOfAnEarlierOne(t *testing.T) {
	srv := server(t)
	r := newReader(t, client(t, srv))
	srv.Link().Cut()
	err := r.opens(t, "n", short)
	requireCode(t, errcode.MetadataUnavailable, err)
	require.ErrorContains(t, err, "does not answer")
	srv.Link().Heal()
	eventually(t, func() bool {
		err = r.opens(t, "n", short)
		return errcode.Of(err) == errcode.SegmentNotFound
	}, "nobody has published it")
	require.NotContains(t, err.Error(), "does not answer")
	require.NoError(t, errors.Unwrap(err))
}

// lateStore shows what it can do only once it was asked something, as an HTTP server does that was down at the start.
type lateStore struct {
	store.Store
	asked atomic.Bool
}

func (s *lateStore) Info() store.Info {
	info := s.Store.Info()
	if s.asked.Load() {
		info.Caps = store.Caps{}
		info.Lacks = []store.Lack{{Invariant: "S6", Reason: "it is a stock server"}}
	}
	return info
}

func (s *lateStore) Get(ctx context.Context, name string) (store.Record, error) {
	s.asked.Store(true)
	r, err := s.Store.Get(ctx, name)
	r.StoreID, r.Revision, r.Owner.Epoch, r.Owner.StoreID = "", 0, 0, ""
	return r, err
}

func (s *lateStore) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	r.Takeover = nil
	o, err := s.Store.Acquire(ctx, r)
	kept = o
	o.StoreID, o.Epoch = "", 0
	return o, err
}

var kept store.Ownership

func (s *lateStore) Publish(ctx context.Context, _ store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	return s.Store.Publish(ctx, kept, r)
}

func (s *lateStore) Remake(context.Context, string) (string, error) { return "", nil }

// A stock server that comes up after the engine did is used as what it is.
func TestAStoreThatTurnsOutToBeAStockOne(t *testing.T) {
	s := &lateStore{Store: client(t, server(t))}
	o := newOwner(t, s, "n")
	ctx := timeout(t, 5*short)
	require.NoError(t, o.Claim(ctx, true, 0))
	require.Equal(t, "OWNING", o.Status().State)
	require.Zero(t, o.Status().Epoch)
}

// The store's failures are no changes of the ownership.
func TestAnOutageIsNoChangeOfOwnership(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	for range 3 {
		failures := o.Status().Counters.Failures
		srv.Link().Cut()
		o.step()
		eventually(t, func() bool { return o.Status().Counters.Failures > failures }, "a publish fails")
		srv.Link().Heal()
		eventually(t, func() bool { return !o.Status().Pending }, "it is published after all")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Equal(t, []string{"acquiring", "owning"}, o.events)
}

// Another engine sits at the address of the owner that the store still names: the owner does not answer.
func TestAnAddressThatIsAnothersIsUnreachable(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r := newReader(t, client(t, srv))
	r.cfg.Bind = func(context.Context, *descriptor.Head) (types.InstanceID, error) {
		return types.InstanceID{}, errcode.New(errcode.StaleInstance, "describe", "another instance answers")
	}
	err := r.opens(t, "n", short)
	requireCode(t, errcode.PeerUnreachable, err)
	require.ErrorContains(t, err, "another instance answers")
}

// Of what no second attempt changes (a stock engine's segment), an open tells at once.
func TestAnOpenDoesNotWaitForWhatIsUnsupported(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r := newReader(t, client(t, srv))
	r.cfg.Bind = func(context.Context, *descriptor.Head) (types.InstanceID, error) {
		return types.InstanceID{}, errcode.New(errcode.Unsupported, "open segment", "a stock engine's")
	}
	answer := make(chan error, 1)
	go func() { answer <- r.opens(t, "n", 2*patience) }()
	select {
	case err := <-answer:
		requireCode(t, errcode.Unsupported, err)
	case <-time.After(patience):
		require.Fail(t, "it waits")
	}
}
