package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// Costs measures single requests to a store, one after the other, and how soon a watch tells of a publish.
func Costs(b *testing.B, open func(t testing.TB, cluster string) store.Store) {
	s := open(b, "bench")
	defer func() { require.NoError(b, s.Close()) }()
	ctx := context.Background()
	claim := func(b *testing.B, name string) store.Ownership {
		o, err := s.Acquire(ctx, store.AcquireRequest{Name: name, Instance: types.NewInstanceID(), TTL: time.Minute})
		require.NoError(b, err)
		return o
	}
	head := make([]byte, 1<<10)
	publish := func(b *testing.B, o store.Ownership, last uint64) uint64 {
		result, err := s.Publish(ctx, o, store.PublishRequest{Head: head, Last: last})
		require.NoError(b, err)
		require.Nil(b, result.Lost)
		return result.Revision
	}
	b.Run("acquire and release", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.Release(ctx, claim(b, "x")))
		}
	})
	b.Run("publish 1 KiB", func(b *testing.B) {
		o := claim(b, "y")
		var last uint64
		for b.Loop() {
			last = publish(b, o, last)
		}
		require.NoError(b, s.Release(ctx, o))
	})
	b.Run("get", func(b *testing.B) {
		o := claim(b, "y")
		publish(b, o, 0)
		for b.Loop() {
			_, err := s.Get(ctx, "y")
			require.NoError(b, err)
		}
		require.NoError(b, s.Release(ctx, o))
	})
	b.Run("renew", func(b *testing.B) {
		o := claim(b, "y")
		for b.Loop() {
			_, err := s.Renew(ctx, o)
			require.NoError(b, err)
		}
		require.NoError(b, s.Release(ctx, o))
	})
	b.Run("publish until a watch tells", func(b *testing.B) {
		o := claim(b, "y")
		watching, stop := context.WithCancel(ctx)
		told, listed, ended := make(chan uint64, 16), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Watch(watching, func(e store.Event) {
				if e.Listing != nil {
					close(listed)
				} else if e.Changed != nil {
					told <- e.Changed.HeadRevision
				}
			})
		}()
		<-listed
		var last uint64
		for b.Loop() {
			last = publish(b, o, last)
			for <-told != last {
			}
		}
		stop()
		<-ended
		require.NoError(b, s.Release(ctx, o))
	})
}
