package conformance

import (
	"context"
	"sync"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

func testRemake(f *fixture) {
	o := f.acquire(f.s, "x")
	fresh, err := f.s.Remake(f.ctx(), o.StoreID)
	require.NoError(f, err)
	if !f.caps.Epochs {
		require.Empty(f, fresh, "a store without epochs has no ID")
		return
	}
	require.Len(f, fresh, 32)
	require.NotEqual(f, o.StoreID, fresh)
	again, err := f.open().Remake(f.ctx(), o.StoreID)
	require.NoError(f, err)
	require.Equal(f, fresh, again, "whoever notices later gets what was made")
	require.Equal(f, fresh, f.get(f.s, "x").StoreID)
	next := f.acquire(f.s, "y")
	require.Equal(f, fresh, next.StoreID)
}

func testRemakeRace(f *fixture) {
	o := f.acquire(f.s, "x")
	const noticing = 6
	made, errs := make([]string, noticing), make([]error, noticing)
	var wg sync.WaitGroup
	for i := range noticing {
		s := f.open()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			made[i], errs[i] = s.Remake(ctx, o.StoreID)
		})
	}
	wg.Wait()
	for i := range made {
		require.NoError(f, errs[i])
		require.Equal(f, made[0], made[i])
	}
	require.Equal(f, made[0], f.get(f.s, "x").StoreID)
}

// testPublishOldStoreID: what was acquired under a former store ID publishes nothing; it is acquired again. A watch ends
// and lists under the new one.
func testPublishOldStoreID(f *fixture) {
	o := f.acquire(f.s, "x")
	last := f.publish(f.s, o, 0, "head")
	w := f.watch(f.open())
	w.listing()
	fresh, err := f.s.Remake(f.ctx(), o.StoreID)
	require.NoError(f, err)
	if !f.caps.Epochs {
		f.publish(f.s, o, last, "goes on")
		return
	}
	f.code(errcode.MetadataUnavailable, w.end())
	require.Equal(f, fresh, f.watch(f.open()).listing().StoreID)
	r := f.lost(f.s, o, last, "under the old ID")
	require.Equal(f, fresh, r.StoreID)
	require.Equal(f, o.StoreID, r.Owner.StoreID)
	require.False(f, o.Holds(&r))
	renewed, err := f.s.Renew(f.ctx(), o)
	require.NoError(f, err)
	require.False(f, o.Holds(&renewed))
	again := f.acquireAs(f.s, store.AcquireRequest{Name: "x", Instance: o.Instance, TTL: f.request("x").TTL, Takeover: &r})
	require.Equal(f, fresh, again.StoreID)
	require.Greater(f, again.Epoch, o.Epoch)
	f.publish(f.s, again, 0, "under the new ID")
}

// testRestart: the server is killed and comes back with what it kept; watches end, and owners go on or acquire again.
func testRestart(f *fixture) {
	o := f.acquire(f.s, "x")
	last := f.publish(f.s, o, 0, "before")
	w := f.watch(f.open())
	w.listing()
	f.c.Server.Restart(f)
	if f.caps.Push {
		f.code(errcode.MetadataUnavailable, w.end())
	}
	f.back(f.s)
	r := f.get(f.s, "x")
	if !f.c.Server.Forgets {
		require.True(f, o.Holds(&r))
		require.Equal(f, "before", string(r.Head))
		require.Equal(f, last, r.HeadRevision)
		f.publish(f.s, o, last, "after")
		return
	}
	f.anew(o, r)
}

// anew is an owner's way back into a store that lost everything.
func (f *fixture) anew(o store.Ownership, r store.Record) {
	f.Helper()
	require.True(f, r.Empty())
	require.False(f, o.Holds(&r))
	lost := f.lost(f.s, o, 0, "to a store that forgot us")
	require.False(f, o.Holds(&lost))
	renewed, err := f.s.Renew(f.ctx(), o)
	require.NoError(f, err)
	require.False(f, o.Holds(&renewed))
	again := f.acquireAs(f.s, store.AcquireRequest{Name: "x", Instance: o.Instance, TTL: f.request("x").TTL})
	if f.caps.Epochs {
		require.NotEqual(f, o.StoreID, again.StoreID, "another store: nothing is comparable")
	}
	f.publish(f.s, again, 0, "again")
	reader := f.open()
	require.Equal(f, []string{"x"}, f.watch(reader).names(f.watch(reader).listing()))
}

func testWiped(f *fixture) {
	o := f.acquire(f.s, "x")
	f.publish(f.s, o, 0, "before")
	w := f.watch(f.open())
	w.listing()
	f.c.Server.Wipe(f)
	if f.caps.Push {
		f.code(errcode.MetadataUnavailable, w.end())
	}
	f.back(f.s)
	f.anew(o, f.get(f.s, "x"))
}

// testRestored: back to an older snapshot, the store has its old ID and owner keys that were replaced long ago. Whoever
// sees the revision go back re-makes the ID; from then on nothing of before counts.
func testRestored(f *fixture) {
	if f.c.Server.Save == nil {
		return // it keeps nothing that could be restored: docs/stores.md
	}
	old := f.acquire(f.s, "x")
	f.publish(f.s, old, 0, "old")
	restore := f.c.Server.Save(f)
	f.back(f.s)
	seen := f.get(f.s, "x")
	present := f.acquireAs(f.s, store.AcquireRequest{Name: "x", Instance: f.request("x").Instance, TTL: f.request("x").TTL, Takeover: &seen})
	last := f.publish(f.s, present, 0, "present")
	before := f.get(f.s, "x")
	w := f.watch(f.open())
	w.listing()
	restore(f)
	f.code(errcode.MetadataUnavailable, w.end())
	f.back(f.s)
	r := f.get(f.s, "x")
	require.Less(f, r.Revision, before.Revision, "the store went back, and shows it")
	require.Equal(f, present.StoreID, r.StoreID)
	require.True(f, old.Holds(&r))
	require.Equal(f, "old", string(r.Head))
	f.lost(f.s, present, last, "of a time that never was")
	fresh, err := f.s.Remake(f.ctx(), r.StoreID)
	require.NoError(f, err)
	other, err := f.open().Remake(f.ctx(), r.StoreID)
	require.NoError(f, err)
	require.Equal(f, fresh, other)
	f.lost(f.s, old, r.HeadRevision, "owner in the snapshot only")
	r = f.get(f.s, "x")
	again := f.acquireAs(f.s, store.AcquireRequest{Name: "x", Instance: present.Instance, TTL: f.request("x").TTL, Takeover: &r})
	require.Equal(f, fresh, again.StoreID)
	f.publish(f.s, again, 0, "again")
	require.Equal(f, "again", string(f.get(f.open(), "x").Head))
}
