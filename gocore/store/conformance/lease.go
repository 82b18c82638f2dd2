package conformance

import (
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store"
)

func (f *fixture) shortRequest(name string) store.AcquireRequest {
	r := f.request(name)
	r.TTL = f.c.TTL
	return r
}

func testRenew(f *fixture) {
	o := f.acquire(f.s, "x")
	last := f.publish(f.s, o, 0, "head")
	r, err := f.s.Renew(f.ctx(), o)
	require.NoError(f, err)
	require.True(f, o.Holds(&r))
	require.Equal(f, last, r.HeadRevision)

	// The name goes from hand to hand: a renewal by a former owner does not count, whatever became of its lease.
	require.NoError(f, f.s.Release(f.ctx(), o))
	r, err = f.s.Renew(f.ctx(), o)
	require.NoError(f, err)
	require.False(f, o.Holds(&r))
	require.True(f, r.Empty())
	other := f.acquire(f.open(), "x")
	r, err = f.s.Renew(f.ctx(), o)
	require.NoError(f, err)
	require.False(f, o.Holds(&r))
	require.True(f, other.Holds(&r))
}

func testRelease(f *fixture) {
	o := f.acquire(f.s, "x")
	f.publish(f.s, o, 0, "head")
	require.NoError(f, f.s.Release(f.ctx(), o))
	r := f.get(f.open(), "x")
	require.True(f, r.Empty())
	require.NoError(f, f.s.Release(f.ctx(), o), "twice is once")
	never := f.acquire(f.s, "y")
	require.NoError(f, f.s.Release(f.ctx(), never), "nothing was published")
}

func testReleaseNotOwner(f *fixture) {
	old := f.acquire(f.s, "x")
	require.NoError(f, f.s.Release(f.ctx(), old))
	o := f.acquire(f.open(), "x")
	f.publish(f.open(), o, 0, "head")
	require.NoError(f, f.s.Release(f.ctx(), old), "its lease ends; that is all that is its own")
	r := f.get(f.s, "x")
	require.True(f, o.Holds(&r))
	require.Equal(f, "head", string(r.Head))
}

func testExpiry(f *fixture) {
	o := f.acquireAs(f.s, f.shortRequest("x"))
	f.publishAll(f.s, o, store.PublishRequest{Head: []byte("head"), Stock: []store.StockKey{{Key: "ram/x", Value: []byte("stock")}}})
	if !f.caps.Leases {
		// Without leases only its owner, or a takeover, removes what lies there.
		if f.c.Advance != nil {
			f.c.Advance(f.c.TTL + time.Second)
		}
		r := f.get(f.open(), "x")
		require.True(f, o.Holds(&r))
		f.owned(f.open(), f.request("x"))
		request := f.request("x")
		request.Takeover = &r
		f.acquireAs(f.open(), request)
		return
	}
	w := f.watch(f.open())
	require.Equal(f, []string{"x"}, w.names(w.listing()))
	reader := f.open()
	f.expired(reader, "x")
	r := f.get(reader, "x")
	require.True(f, r.Empty(), "owner, head and stock copy go together: %+v", r)
	changed := w.changed()
	require.Equal(f, "x", changed.Name)
	require.True(f, changed.Empty(), "and are seen to go in one step")
	if f.caps.Epochs {
		again := f.acquire(reader, "x")
		require.Greater(f, again.Epoch, o.Epoch)
	}
}

// testRenewedLives: renewed at a third of its time, a lease outlives twice its time.
func testRenewedLives(f *fixture) {
	o := f.acquireAs(f.s, f.shortRequest("x"))
	step := f.c.TTL / 3
	tick := time.NewTicker(step)
	defer tick.Stop()
	for range 7 {
		if f.c.Advance != nil {
			f.c.Advance(step)
		} else if f.caps.Leases {
			<-tick.C
		}
		r, err := f.s.Renew(f.ctx(), o)
		require.NoError(f, err)
		require.True(f, o.Holds(&r))
	}
}

// testZombie: an owner that slept beyond its lease publishes, renews and releases nothing of the next one.
func testZombie(f *fixture) {
	zombie := f.acquireAs(f.s, f.shortRequest("x"))
	last := f.publish(f.s, zombie, 0, "zombie's")
	second := f.open()
	request := f.request("x")
	if f.caps.Leases {
		f.expired(second, "x")
	} else {
		seen := f.get(second, "x")
		request.Takeover = &seen
	}
	o := f.acquireAs(second, request)
	f.publish(second, o, 0, "new")
	for _, wrong := range []uint64{last, 0} {
		r := f.lost(f.s, zombie, wrong, "from the grave")
		require.True(f, o.Holds(&r))
		require.Equal(f, "new", string(r.Head))
	}
	r, err := f.s.Renew(f.ctx(), zombie)
	require.NoError(f, err)
	require.False(f, zombie.Holds(&r))
	require.NoError(f, f.s.Release(f.ctx(), zombie))
	r = f.get(f.s, "x")
	require.True(f, o.Holds(&r))
	require.Equal(f, "new", string(r.Head))
}
