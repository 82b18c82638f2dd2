package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func testInfo(f *fixture) {
	info := f.s.Info()
	require.NotEmpty(f, info.Kind)
	require.NotEmpty(f, info.URL)
	full := f.caps.Epochs && f.caps.CompareAndSet && f.caps.Leases && f.caps.Push && f.caps.NameEnumerable
	keepsS6 := f.caps.Epochs && f.caps.CompareAndSet && f.caps.Leases
	lacksS6 := false
	for _, lack := range info.Lacks {
		require.NotEmpty(f, lack.Reason, "%s", lack.Invariant)
		lacksS6 = lacksS6 || lack.Invariant == "S6"
	}
	require.Equal(f, !keepsS6, lacksS6, "a store without epochs, compare-and-set or leases says that it does not keep S6")
	if full {
		require.Empty(f, info.Lacks)
	}
	require.Equal(f, !f.caps.Push, info.Poll > 0, "a store without push says how often it polls")
}

func testAcquireFree(f *fixture) {
	o := f.acquire(f.s, "x")
	r := f.get(f.open(), "x")
	require.True(f, o.Holds(&r), "%+v does not hold %+v", o, r)
	require.Nil(f, r.Head)
	require.Zero(f, r.HeadRevision)
	require.Nil(f, r.Stock)
	if f.caps.Epochs {
		require.Len(f, o.StoreID, 32)
		require.GreaterOrEqual(f, r.Revision, o.Epoch)
	}
	other := f.acquire(f.s, "y")
	require.Equal(f, o.StoreID, other.StoreID)
}

func testAcquireOwned(f *fixture) {
	o := f.acquire(f.s, "x")
	revision := f.publish(f.s, o, 0, "head")
	second := f.open()
	r := f.owned(second, f.request("x"))
	require.True(f, o.Holds(&r))
	require.Equal(f, "head", string(r.Head))
	require.Equal(f, revision, r.HeadRevision)
	after := f.get(second, "x")
	require.True(f, o.Holds(&after), "a refused claim changes nothing")
	require.Equal(f, "head", string(after.Head))
}

// testAcquireAgain: the store does not forgive an owner that forgot its ownership; it takes its own record over.
func testAcquireAgain(f *fixture) {
	request := f.request("x")
	first := f.acquireAs(f.s, request)
	f.publish(f.s, first, 0, "old")
	r := f.owned(f.s, request)
	require.Equal(f, request.Instance, r.Owner.Instance)
	request.Takeover = &r
	second := f.acquireAs(f.s, request)
	if f.caps.Epochs {
		require.Greater(f, second.Epoch, first.Epoch)
	}
	require.Nil(f, f.get(f.s, "x").Head)
	f.publish(f.s, second, 0, "new")
}

// testAcquireDeletesHead: a head never lies beside an owner that did not publish it.
func testAcquireDeletesHead(f *fixture) {
	o := f.acquire(f.s, "x")
	f.publish(f.s, o, 0, "old")
	require.NoError(f, f.s.Release(f.ctx(), o))
	second := f.open()
	o = f.acquire(second, "x")
	require.Nil(f, f.get(f.s, "x").Head)
	seen := f.get(f.s, "x")
	f.publish(second, o, 0, "newer")
	seen = f.get(f.s, "x")
	request := f.request("x")
	request.Takeover = &seen
	f.acquireAs(f.s, request)
	r := f.get(second, "x")
	require.Nil(f, r.Head)
	require.Zero(f, r.HeadRevision)
}

func testAcquireRace(f *fixture) {
	const claimants = 8
	var mu sync.Mutex
	var won []store.Ownership
	var other []error
	var wg sync.WaitGroup
	for range claimants {
		s := f.open()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			o, err := s.Acquire(ctx, f.request("x"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, o)
			} else if !errors.As(err, new(*store.OwnedError)) {
				other = append(other, err)
			}
		})
	}
	wg.Wait()
	require.Empty(f, other)
	if !f.caps.CompareAndSet {
		require.NotEmpty(f, won, "without compare-and-set several may believe they own it; the record names one")
	} else {
		require.Len(f, won, 1)
	}
	r := f.get(f.s, "x")
	holders := 0
	for _, o := range won {
		if o.Holds(&r) {
			holders++
		}
	}
	require.Equal(f, 1, holders)
}

func testEpochsGrow(f *fixture) {
	var last uint64
	for range 5 {
		o := f.acquire(f.s, "x")
		if !f.caps.Epochs {
			require.Zero(f, o.Epoch)
		} else {
			require.Greater(f, o.Epoch, last)
		}
		last = o.Epoch
		// What happens to other names must not make an epoch come again.
		y := f.acquire(f.s, "y")
		f.publish(f.s, y, 0, "y")
		require.NoError(f, f.s.Release(f.ctx(), y))
		require.NoError(f, f.s.Release(f.ctx(), o))
	}
}

func testAcquireBad(f *fixture) {
	for _, spoil := range []func(*store.AcquireRequest){
		func(r *store.AcquireRequest) { r.Instance = types.InstanceID{} },
		func(r *store.AcquireRequest) { r.TTL = 0 },
		func(r *store.AcquireRequest) { r.TTL = store.MinTTL - 1 },
		func(r *store.AcquireRequest) { r.TTL = 100 * time.Hour },
		func(r *store.AcquireRequest) { r.Takeover = &store.Record{Name: "y"} },
	} {
		r := f.request("x")
		spoil(&r)
		_, err := f.s.Acquire(f.ctx(), r)
		f.code(errcode.InvalidArgument, err)
	}
	r := f.get(f.s, "x")
	require.True(f, r.Empty())
}

func testTakeover(f *fixture) {
	old := f.acquire(f.s, "x")
	f.publishAll(f.s, old, store.PublishRequest{Head: []byte("old"), Stock: []store.StockKey{{Key: "ram/x", Value: []byte("old")}}})
	second := f.open()
	seen := f.get(second, "x")
	request := f.request("x")
	request.Takeover = &seen
	o := f.acquireAs(second, request)
	r := f.get(f.s, "x")
	require.True(f, o.Holds(&r))
	require.False(f, old.Holds(&r))
	require.Nil(f, r.Head)
	if f.caps.Leases {
		require.Nil(f, r.Stock, "what the old one's lease held goes with it")
	}
	if f.caps.Epochs {
		require.Greater(f, o.Epoch, old.Epoch)
	}
	// The old one's lease is revoked: nothing that it does touches the new one, not even its lease's end.
	renewed, err := f.s.Renew(f.ctx(), old)
	require.NoError(f, err)
	require.False(f, old.Holds(&renewed))
	require.NoError(f, f.s.Release(f.ctx(), old))
	r = f.get(f.s, "x")
	require.True(f, o.Holds(&r))
}

func testTakeoverStale(f *fixture) {
	if !f.caps.CompareAndSet {
		// Nothing can be compared: a takeover replaces whatever lies there.
		f.acquire(f.s, "x")
		seen := f.get(f.s, "x")
		request := f.request("x")
		request.Takeover = &seen
		f.acquireAs(f.open(), request)
		o := f.acquireAs(f.open(), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute, Takeover: &seen})
		r := f.get(f.s, "x")
		require.True(f, o.Holds(&r))
		return
	}
	second := f.open()
	refused := func(what string, seen store.Record) {
		f.Helper()
		request := f.request("x")
		request.Takeover = &seen
		r := f.owned(second, request)
		require.Equal(f, f.get(f.s, "x").Owner, r.Owner, what)
	}
	o := f.acquire(f.s, "x")
	first := f.get(second, "x")
	revision := f.publish(f.s, o, 0, "one")
	refused("a head was published since", first)
	published := f.get(second, "x")
	revision = f.publish(f.s, o, revision, "two")
	refused("the head was replaced since", published)
	present := f.get(second, "x")
	require.Equal(f, revision, present.HeadRevision)
	wrong := present
	wrong.StoreID = "00000000000000000000000000000000"
	refused("seen in another store", wrong)
	wrong = present
	wrong.Owner.Epoch--
	refused("another epoch", wrong)
	request := f.request("x")
	request.Takeover = &present
	f.acquireAs(second, request)
	refused("taken over since", present)
}

func testTakeoverNobody(f *fixture) {
	o := f.acquire(f.s, "x")
	seen := f.get(f.s, "x")
	require.NoError(f, f.s.Release(f.ctx(), o))
	request := f.request("x")
	request.Takeover = &seen
	f.acquireAs(f.open(), request)
}
