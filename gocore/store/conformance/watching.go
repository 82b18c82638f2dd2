package conformance

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store"
)

// watching is one Watch in the background and what it told so far.
type watching struct {
	f      *fixture
	cancel context.CancelFunc
	events chan store.Event // large: f must not block
	ended  chan error
}

func (f *fixture) watch(s store.Store) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{f: f, cancel: cancel, events: make(chan store.Event, 100_000), ended: make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { w.ended <- s.Watch(ctx, func(e store.Event) { w.events <- e }) })
	f.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return w
}

// next is the next event that is no progress, or any if progress is wanted.
func (w *watching) next(progress bool) store.Event {
	w.f.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case e := <-w.events:
			set := 0
			for _, is := range []bool{e.Listing != nil, e.Changed != nil, e.Progress != nil} {
				if is {
					set++
				}
			}
			require.Equal(w.f, 1, set, "%+v", e)
			if e.Progress == nil || progress {
				return e
			}
		case err := <-w.ended:
			w.ended <- err
			require.NoError(w.f, err, "the watch ended")
			require.Fail(w.f, "the watch ended without a reason")
		case <-late.C:
			require.Fail(w.f, "no event")
		}
	}
}

func (w *watching) listing() *store.Listing {
	w.f.Helper()
	e := w.next(false)
	require.NotNil(w.f, e.Listing, "%+v", e.Changed)
	return e.Listing
}

func (w *watching) changed() *store.Record {
	w.f.Helper()
	e := w.next(false)
	require.NotNil(w.f, e.Changed, "%+v", e.Listing)
	return e.Changed
}

// until reads on to the change that is wanted. A store without push may have skipped others on the way.
func (w *watching) until(want func(r *store.Record) bool) *store.Record {
	w.f.Helper()
	for {
		if r := w.changed(); want(r) {
			return r
		} else if w.f.caps.Push {
			require.Fail(w.f, "another change came first", "%+v", r)
		}
	}
}

// names are those of a listing, but for records with nothing in them (a store that cannot list polls such names too).
func (w *watching) names(l *store.Listing) []string {
	var out []string
	for _, r := range l.Records {
		if !r.Empty() {
			out = append(out, r.Name)
		}
	}
	return out
}

// end waits for the watch to end by itself.
func (w *watching) end() error {
	w.f.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err
		require.Error(w.f, err)
		return err
	case <-time.After(patience):
		require.Fail(w.f, "the watch goes on")
		return nil
	}
}
