package mem_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/mem"
	"mooncake_te/gocore/types"
)

func request(name string, ttl time.Duration) store.AcquireRequest {
	return store.AcquireRequest{Name: name, Instance: types.NewInstanceID(), TTL: ttl}
}

// TestManualClock: a lease ends at its time, not before, and each by itself.
func TestManualClock(t *testing.T) {
	server := mem.NewServer(mem.Options{Manual: true})
	s := server.Open(keys(t, "c"))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	short, err := s.Acquire(ctx, request("short", 2*time.Second))
	require.NoError(t, err)
	long, err := s.Acquire(ctx, request("long", 5*time.Second))
	require.NoError(t, err)
	owns := func(o store.Ownership) bool {
		r, err := s.Get(ctx, o.Name)
		require.NoError(t, err)
		return o.Holds(&r)
	}
	server.Advance(2*time.Second - 1)
	require.True(t, owns(short))
	server.Advance(1)
	require.False(t, owns(short))
	require.True(t, owns(long))
	server.Advance(2 * time.Second)
	_, err = s.Renew(ctx, long)
	require.NoError(t, err)
	server.Advance(5*time.Second - 1)
	require.True(t, owns(long), "from the renewal on")
	server.Advance(1)
	require.False(t, owns(long))
}

// TestStartGivesLeasesTheirTime: who could not renew while the server was down loses nothing.
func TestStartGivesLeasesTheirTime(t *testing.T) {
	server := mem.NewServer(mem.Options{Manual: true})
	s := server.Open(keys(t, "c"))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	o, err := s.Acquire(ctx, request("x", 2*time.Second))
	require.NoError(t, err)
	server.Advance(time.Second)
	server.Kill()
	_, err = s.Get(ctx, "x")
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
	server.Start()
	server.Advance(2*time.Second - 1)
	r, err := s.Get(ctx, "x")
	require.NoError(t, err)
	require.True(t, o.Holds(&r))
}

// TestSlowWatcherListsAgain: what a watcher cannot take in time ends its watch, not the server's memory.
func TestSlowWatcherListsAgain(t *testing.T) {
	server := mem.NewServer(mem.Options{})
	s := server.Open(keys(t, "c"))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	o, err := s.Acquire(ctx, request("x", time.Minute))
	require.NoError(t, err)
	listed, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func(e store.Event) {
			if e.Listing != nil {
				close(listed)
				<-goOn
			}
		})
	}()
	<-listed
	var last uint64
	for range 5000 {
		result, err := s.Publish(ctx, o, store.PublishRequest{Head: []byte("h"), Last: last})
		require.NoError(t, err)
		last = result.Revision
	}
	close(goOn)
	err = <-ended
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
	require.ErrorContains(t, err, "fell behind")
}

// TestManyReplacementsLeaveNothing: 10^4 owners came and went.
func TestManyReplacementsLeaveNothing(t *testing.T) {
	server := mem.NewServer(mem.Options{Manual: true})
	s := server.Open(keys(t, "c"))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	for i := range 10_000 {
		o, err := s.Acquire(ctx, request("x", time.Second))
		require.NoError(t, err)
		_, err = s.Publish(ctx, o, store.PublishRequest{Head: []byte("h"), Stock: []store.StockKey{{Key: "ram/x", Value: []byte("v")}}})
		require.NoError(t, err)
		if i%2 == 0 {
			require.NoError(t, s.Release(ctx, o))
		} else {
			server.Advance(time.Second)
		}
	}
	names, leases, stock := server.Sizes()
	require.Zero(t, names)
	require.Zero(t, leases)
	require.Zero(t, stock)
}

func TestRestoreAsOftenAsWanted(t *testing.T) {
	server := mem.NewServer(mem.Options{Manual: true})
	s := server.Open(keys(t, "c"))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	o, err := s.Acquire(ctx, request("x", time.Minute))
	require.NoError(t, err)
	restore := server.Save()
	saved := server.Revision()
	for range 2 {
		result, err := s.Publish(ctx, o, store.PublishRequest{Head: []byte("h")})
		require.NoError(t, err)
		require.Nil(t, result.Lost)
		restore()
		require.Equal(t, saved, server.Revision())
		r, err := s.Get(ctx, "x")
		require.NoError(t, err)
		require.True(t, o.Holds(&r))
		require.Nil(t, r.Head)
	}
	server.Wipe()
	require.Zero(t, server.Revision())
}

// TestServerLinkHoldsForAll: what is broken at the server is broken for each client.
func TestServerLinkHoldsForAll(t *testing.T) {
	server := mem.NewServer(mem.Options{})
	server.Link().Silence()
	for range 2 {
		s := server.Open(keys(t, "c"))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		_, err := s.Get(ctx, "x")
		cancel()
		require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
		require.NoError(t, s.Close())
	}
}
