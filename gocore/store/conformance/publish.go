package conformance

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func testPublish(f *fixture) {
	reader := f.open()
	o := f.acquire(f.s, "x")
	var last uint64
	for i := range 5 {
		head := fmt.Sprintf("head %d", i)
		last = f.publish(f.s, o, last, head)
		r := f.get(reader, "x")
		require.Equal(f, head, string(r.Head))
		require.Equal(f, last, r.HeadRevision)
		require.True(f, o.Holds(&r), "publishing changes neither owner nor epoch")
	}
	if !f.caps.CompareAndSet {
		// Last is not compared: the last writer wins.
		f.publish(f.s, o, 0, "over")
		require.Equal(f, "over", string(f.get(reader, "x").Head))
		return
	}
	for _, wrong := range []uint64{0, last - 1, last + 1, 1} {
		r := f.lost(f.s, o, wrong, "lost")
		require.True(f, o.Holds(&r), "the compare was lost on the head alone")
		require.Equal(f, "head 4", string(r.Head))
		require.Equal(f, last, r.HeadRevision)
	}
	f.publish(f.s, o, last, "after")
}

// testPublishNotOwner: every part of the compare counts by itself.
func testPublishNotOwner(f *fixture) {
	o := f.acquire(f.s, "x")
	last := f.publish(f.s, o, 0, "head")
	stranger := o
	stranger.Instance = types.NewInstanceID()
	r := f.lost(f.s, stranger, last, "stranger's")
	require.True(f, o.Holds(&r))
	if f.caps.Epochs {
		for _, d := range []uint64{^uint64(0), 1} {
			wrong := o
			wrong.Epoch += d
			f.lost(f.s, wrong, last, "wrong epoch")
		}
		wrong := o
		wrong.StoreID = "00000000000000000000000000000000"
		f.lost(f.s, wrong, last, "wrong store ID")
	}
	require.NoError(f, f.s.Release(f.ctx(), o))
	r = f.lost(f.s, o, last, "after release")
	require.True(f, r.Empty())
	r = f.lost(f.s, o, 0, "after release, as if first")
	require.True(f, r.Empty())
}

func testPublishRace(f *fixture) {
	o := f.acquire(f.s, "x")
	last := f.publish(f.s, o, 0, "first")
	const writers = 8
	results := make([]store.PublishResult, writers)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		s := f.open()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			results[i], errs[i] = s.Publish(ctx, o, store.PublishRequest{Head: fmt.Appendf(nil, "writer %d", i), Last: last})
		})
	}
	wg.Wait()
	landed := map[string]uint64{}
	for i, r := range results {
		require.NoError(f, errs[i])
		if r.Lost == nil {
			landed[fmt.Sprintf("writer %d", i)] = r.Revision
		}
	}
	r := f.get(f.s, "x")
	require.Contains(f, landed, string(r.Head), "one whole head lies there")
	require.Equal(f, landed[string(r.Head)], r.HeadRevision)
	if f.caps.CompareAndSet {
		require.Len(f, landed, 1)
	}
}

func testPublishSizes(f *fixture) {
	o := f.acquire(f.s, "x")
	var last uint64
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, head := range [][]byte{{0}, []byte("{}"), all, []byte("ä\n\r\n%00 \xff"), bytes.Repeat([]byte{0xa5}, store.MaxHead)} {
		last = f.publishAll(f.s, o, store.PublishRequest{Head: head, Last: last})
		r := f.get(f.s, "x")
		require.True(f, bytes.Equal(head, r.Head), "%d bytes came back as %d", len(head), len(r.Head))
	}
	for _, bad := range [][]byte{nil, {}, make([]byte, store.MaxHead+1)} {
		_, err := f.s.Publish(f.ctx(), o, store.PublishRequest{Head: bad, Last: last})
		f.code(errcode.InvalidArgument, err)
	}
	_, err := f.s.Publish(f.ctx(), o, store.PublishRequest{
		Head: all, Last: last, Stock: []store.StockKey{{Key: "ram/x", Value: make([]byte, store.MaxStock)}},
	})
	f.code(errcode.ResourceExhausted, err)
	require.Equal(f, last, f.get(f.s, "x").HeadRevision, "what was refused changed nothing")

	// All that is allowed at once.
	most := f.c.MaxStock
	if most == 0 {
		most = store.MaxStock
	}
	stock := bytes.Repeat([]byte{'s'}, most-len("ram/x"))
	f.publishAll(f.s, o, store.PublishRequest{
		Head: make([]byte, store.MaxHead), Last: last, Stock: []store.StockKey{{Key: "ram/x", Value: stock}},
	})
	r := f.get(f.open(), "x")
	require.Len(f, r.Head, store.MaxHead)
	require.True(f, bytes.Equal(stock, r.Stock), "%d bytes came back as %d", len(stock), len(r.Stock))
}

// testPublishStock: the stock keys are written, replaced and deleted with the head.
func testPublishStock(f *fixture) {
	reader := f.open()
	o := f.acquire(f.s, "x")
	publish := func(last uint64, head string, stock ...store.StockKey) uint64 {
		f.Helper()
		return f.publishAll(f.s, o, store.PublishRequest{Head: []byte(head), Last: last, Stock: stock})
	}
	ram := func(value string) store.StockKey { return store.StockKey{Key: "ram/x", Value: []byte(value)} }
	last := publish(0, "1", ram("one"), store.StockKey{Key: "rpc_meta/x", Value: []byte("address")}, store.StockKey{Key: "ram/y", Value: []byte("alias")})
	require.Equal(f, "one", string(f.get(reader, "x").Stock))
	r := f.get(reader, "y")
	require.Equal(f, "alias", string(r.Stock))
	require.False(f, r.Owner.Owned())
	last = publish(last, "2", ram("two"))
	require.Equal(f, "two", string(f.get(reader, "x").Stock))
	require.Nil(f, f.get(reader, "y").Stock, "the set is complete: what is not in it goes")
	last = publish(last, "3")
	require.Nil(f, f.get(reader, "x").Stock)
	publish(last, "4", ram("four"), store.StockKey{Key: "ram/y", Value: []byte("alias")})
	if f.caps.CompareAndSet {
		stranger := o
		stranger.Instance = types.NewInstanceID()
		f.lost(f.s, stranger, last, "lost")
	}
	require.Equal(f, "four", string(f.get(reader, "x").Stock))
	require.NoError(f, f.s.Release(f.ctx(), o))
	r = f.get(reader, "x")
	require.True(f, r.Empty())
	r = f.get(reader, "y")
	require.True(f, r.Empty())
}

func testGetNothing(f *fixture) {
	r := f.get(f.s, "x")
	require.True(f, r.Empty())
	require.Zero(f, r.HeadRevision)
	f.acquire(f.s, "y")
	r = f.get(f.s, "x")
	require.True(f, r.Empty())
	require.Equal(f, f.caps.Epochs, r.StoreID != "")
	require.Equal(f, f.caps.Epochs, r.Revision != 0)
}

// testGetLegacy: a segment that a stock engine published has no owner; ours can have the name beside it.
func testGetLegacy(f *fixture) {
	f.c.Server.PutStock(f, f.cluster, "ram/x", []byte("legacy"))
	r := f.get(f.s, "x")
	require.False(f, r.Empty())
	require.False(f, r.Owner.Owned())
	require.Nil(f, r.Head)
	require.Equal(f, "legacy", string(r.Stock))
	o := f.acquire(f.s, "x")
	f.publishAll(f.s, o, store.PublishRequest{Head: []byte("h"), Stock: []store.StockKey{{Key: "ram/x", Value: []byte("ours")}}})
	require.Equal(f, "ours", string(f.get(f.s, "x").Stock))
}

// testGetUnreadable: what is no owner is named, not guessed at, and cannot be claimed.
func testGetUnreadable(f *fixture) {
	if f.c.Server.PutOurs == nil {
		return // nobody but the store itself writes there: docs/stores.md
	}
	keys, err := store.NewKeys(f.cluster)
	require.NoError(f, err)
	f.acquire(f.s, "y")
	for _, bad := range []string{"", "x", "{}", `{"instance":"00000000000000000000000000000000"}`, `{"instance":7}`, `[`, "\xff"} {
		f.c.Server.PutOurs(f, keys.Owner("x"), []byte(bad))
		_, err = f.s.Get(f.ctx(), "x")
		f.code(errcode.MetadataInvalid, err)
		require.ErrorContains(f, err, keys.Owner("x"))
		_, err = f.s.Acquire(f.ctx(), f.request("x"))
		f.code(errcode.MetadataInvalid, err)
	}
	r := f.get(f.s, "y")
	require.True(f, r.Owner.Owned(), "other names are well")
	w := f.watch(f.s)
	require.Equal(f, []string{"y"}, w.names(w.listing()), "a listing leaves it out")
}
