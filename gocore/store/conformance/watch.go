package conformance

import (
	"context"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

func testWatchOrder(f *fixture) {
	before := f.acquire(f.s, "x")
	revision := f.publish(f.s, before, 0, "before")
	w := f.watch(f.open())
	l := w.listing()
	require.Equal(f, []string{"x"}, w.names(l))
	require.Equal(f, before.StoreID, l.StoreID)
	for _, r := range l.Records {
		if r.Name == "x" {
			require.True(f, before.Holds(&r))
			require.Equal(f, "before", string(r.Head))
			require.Equal(f, revision, r.HeadRevision)
		}
	}

	last := l.Revision
	follow := func(what string, want func(r *store.Record) bool) {
		f.Helper()
		r := w.until(want)
		if f.caps.Epochs {
			require.Greater(f, r.Revision, last, what)
			require.Equal(f, l.StoreID, r.StoreID, what)
		}
		last = r.Revision
	}
	o := f.acquire(f.s, "y")
	follow("acquired", func(r *store.Record) bool { return r.Name == "y" && o.Holds(r) && r.Head == nil })
	var head uint64
	for _, text := range []string{"1", "2", "3"} {
		head = f.publish(f.s, o, head, text)
		follow("published", func(r *store.Record) bool {
			return r.Name == "y" && o.Holds(r) && string(r.Head) == text && r.HeadRevision == head
		})
	}
	seen := f.get(f.s, "y")
	request := f.request("y")
	request.Takeover = &seen
	other := f.acquireAs(f.s, request)
	follow("taken over", func(r *store.Record) bool { return r.Name == "y" && other.Holds(r) && r.Head == nil })
	require.NoError(f, f.s.Release(f.ctx(), before))
	follow("released", func(r *store.Record) bool { return r.Name == "x" && r.Empty() })
	require.NoError(f, f.s.Release(f.ctx(), other))
	follow("released", func(r *store.Record) bool { return r.Name == "y" && r.Empty() })

	// Nothing is left over: a new watch lists nothing.
	w = f.watch(f.open())
	require.Empty(f, w.names(w.listing()))
}

// testWatchMany: changes of many names while a watch starts; none is missed, whether listed or told after it.
func testWatchMany(f *fixture) {
	const names = 50
	f.names = nil
	for i := range names {
		f.names = append(f.names, fmt.Sprintf("name-%02d", i))
	}
	w := f.watch(f.open())
	for _, name := range f.names {
		o := f.acquire(f.s, name)
		f.publish(f.s, o, 0, "head of "+name)
	}
	seen := map[string]string{}
	note := func(r *store.Record) {
		if r.Head != nil {
			seen[r.Name] = string(r.Head)
		}
	}
	for _, r := range w.listing().Records {
		note(&r)
	}
	for len(seen) < names {
		note(w.changed())
	}
	for _, name := range f.names {
		require.Equal(f, "head of "+name, seen[name])
	}
	l := f.watch(f.open()).listing()
	got := w.names(l)
	slices.Sort(got)
	require.Equal(f, f.names, got)
}

func testWatchProgress(f *fixture) {
	o := f.acquire(f.s, "x")
	w := f.watch(f.open())
	l := w.listing()
	for range 2 {
		for {
			e := w.next(true)
			if e.Progress == nil {
				continue
			}
			if f.caps.Epochs {
				require.GreaterOrEqual(f, e.Progress.Revision, l.Revision)
			}
			break
		}
	}
	// Progress goes on to what happened since, and never past a change that was not told.
	head := f.publish(f.s, o, 0, "head")
	told := false
	for {
		e := w.next(true)
		told = told || e.Changed != nil && e.Changed.HeadRevision == head
		if e.Progress != nil && (!f.caps.Epochs && told || f.caps.Epochs && e.Progress.Revision >= head) {
			require.True(f, told)
			return
		}
	}
}

func testWatchContext(f *fixture) {
	w := f.watch(f.s)
	w.listing()
	w.cancel()
	require.ErrorIs(f, w.end(), context.Canceled)
}

func testWatchCut(f *fixture) {
	o := f.acquire(f.s, "x")
	s, link := f.linked()
	w := f.watch(s)
	w.listing()
	link.Cut()
	f.code(errcode.MetadataUnavailable, w.end())
	f.code(errcode.MetadataUnavailable, f.watch(s).end())
	head := f.publish(f.s, o, 0, "meanwhile")
	link.Heal()
	f.back(s)
	w = f.watch(s)
	for _, r := range w.listing().Records {
		if r.Name == "x" {
			require.Equal(f, head, r.HeadRevision)
		}
	}
	head = f.publish(f.s, o, head, "after")
	w.until(func(r *store.Record) bool { return r.HeadRevision == head && string(r.Head) == "after" })
}

// testWatchSilence: a connection over which nothing comes any more is given up by the store itself.
func testWatchSilence(f *fixture) {
	s, link := f.linked()
	w := f.watch(s)
	w.listing()
	link.Silence()
	f.code(errcode.MetadataUnavailable, w.end())
	link.Heal()
	f.back(s)
	f.watch(s).listing()
}

// testWatchCompaction: the past is forgotten. A watch that was told everything may go on or end; one that starts lists
// the present; either way nothing is missed.
func testWatchCompaction(f *fixture) {
	o := f.acquire(f.s, "x")
	head := f.publish(f.s, o, 0, "0")
	w := f.watch(f.open())
	w.listing()
	for i := range 20 {
		head = f.publish(f.s, o, head, fmt.Sprint(i))
	}
	if f.c.Server.Compact != nil {
		f.c.Server.Compact(f)
	}
	head = f.publish(f.s, o, head, "last")
	seen := func(w *watching) bool {
		for {
			select {
			case e := <-w.events:
				if e.Changed != nil && e.Changed.HeadRevision == head {
					return true
				}
				if e.Listing != nil && len(e.Listing.Records) > 0 && e.Listing.Records[0].HeadRevision == head {
					return true
				}
			case <-w.ended:
				return false
			}
		}
	}
	if !seen(w) {
		require.True(f, seen(f.watch(f.open())))
	}
}
