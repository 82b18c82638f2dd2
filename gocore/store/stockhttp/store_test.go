package stockhttp_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// The stock server refuses to replace rpc_meta. Equal values are no trouble; another one, left by a former process, is
// deleted; and both are seen by stock readers.
func TestDuplicatesAreResolvedByReading(t *testing.T) {
	server := start(t)
	server.put(t, "mooncake/c/rpc_meta/x", []byte("same"))
	server.put(t, "mooncake/c/rpc_meta/other", []byte("left behind"))
	s := open(t, server.address(), "c")
	defer func() { require.NoError(t, s.Close()) }()
	o, err := s.Acquire(within(t), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	stock := []store.StockKey{
		{Key: "ram/x", Value: []byte("descriptor")}, {Key: "rpc_meta/x", Value: []byte("same")}, {Key: "rpc_meta/other", Value: []byte("mine")},
	}
	for _, head := range []string{"one", "two"} {
		r, err := s.Publish(within(t), o, store.PublishRequest{Head: []byte(head), Stock: stock})
		require.NoError(t, err)
		require.Nil(t, r.Lost)
	}
	record, err := s.Get(within(t), "x")
	require.NoError(t, err)
	require.Equal(t, "descriptor", string(record.Stock))
	require.Equal(t, "two", string(record.Head))

	// A name that holds the word is one that the server would protect, too.
	o, err = s.Acquire(within(t), store.AcquireRequest{Name: "rpc_meta", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	for _, head := range []string{"one", "two"} {
		_, err := s.Publish(within(t), o, store.PublishRequest{Head: []byte(head)})
		require.NoError(t, err)
		record, err := s.Get(within(t), "rpc_meta")
		require.NoError(t, err)
		require.Equal(t, head, string(record.Head))
	}
}

// What the stock server does not take is said by name.
func TestWhatTheServerDoesNotTake(t *testing.T) {
	server := start(t)
	s := open(t, server.address(), "c")
	defer func() { require.NoError(t, s.Close()) }()
	o, err := s.Acquire(within(t), store.AcquireRequest{Name: "x ", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	large := bytes.Repeat([]byte("v"), 1_300_000) // it takes a MiB
	for _, stock := range []store.StockKey{{Key: "ram/x ", Value: []byte("v")}, {Key: "ram/x", Value: large}} {
		_, err = s.Publish(within(t), o, store.PublishRequest{Head: []byte("head"), Stock: []store.StockKey{stock}})
		require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
		require.ErrorContains(t, err, stock.Key)
		require.False(t, store.IsUnknown(err))
		record, err := s.Get(within(t), "x ")
		require.NoError(t, err)
		require.Nil(t, record.Head, "nothing of a publish that is refused lies there")
	}
}

// Info says what is not kept, and why.
func TestInfo(t *testing.T) {
	server := start(t)
	s := open(t, server.address(), "c")
	defer func() { require.NoError(t, s.Close()) }()
	info := s.Info()
	require.Equal(t, store.Caps{}, info.Caps)
	require.Len(t, info.Lacks, 2)
	require.Equal(t, "S5", info.Lacks[0].Invariant)
	require.Equal(t, "S6", info.Lacks[1].Invariant)
	require.Contains(t, info.Lacks[1].Reason, "compare-and-set")
}
