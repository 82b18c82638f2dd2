package stockhttp

import (
	"bytes"
	"context"
	"slices"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// Watch reads the names of interest (Interest) at the poll interval and tells what changed. A name that cannot be read is
// left out; a server that does not answer ends it.
func (s *Store) Watch(ctx context.Context, f func(store.Event)) error {
	seen := map[string]store.Record{}
	tick := time.NewTicker(s.poll)
	defer tick.Stop()
	for first := true; ; first = false {
		names := s.interest()
		listing := store.Listing{}
		for _, name := range names {
			before, known := seen[name]
			r, err := s.settled(ctx, name, &before)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errcode.Of(err) == errcode.MetadataInvalid, errcode.Of(err) == errcode.InvalidArgument:
				continue
			case err != nil:
				return err
			}
			seen[name] = r
			switch {
			case first && !r.Empty():
				listing.Records = append(listing.Records, r)
			case !first && (known && !same(&before, &r) || !known && !r.Empty()):
				f(store.Event{Changed: &r})
			}
		}
		if first {
			f(store.Event{Listing: &listing})
		} else {
			f(store.Event{Progress: &store.Progress{}})
		}
		for name := range seen {
			if !slices.Contains(names, name) {
				delete(seen, name)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// settled reads a record; one that changed since is read until it comes out the same twice, for its keys are read and
// written one by one, and a mixture of two states is none that ever was.
func (s *Store) settled(ctx context.Context, name string, before *store.Record) (store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	r, err := s.record(ctx, "watch", name)
	for tries := 0; err == nil && tries < maxReads && !same(before, &r); tries++ {
		last := r
		if r, err = s.record(ctx, "watch", name); err == nil && same(&last, &r) {
			break
		}
	}
	return r, err
}

// maxReads is when a name that changes all the time is told of as it was seen last.
const maxReads = 5

func (s *Store) interest() []string {
	s.mu.Lock()
	names := s.names
	s.mu.Unlock()
	if names == nil {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names())))
}

func same(a, b *store.Record) bool {
	return a.Owner == b.Owner && bytes.Equal(a.Head, b.Head) && bytes.Equal(a.Stock, b.Stock)
}
