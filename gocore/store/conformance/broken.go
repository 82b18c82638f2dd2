package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// testUnknownPublish: the connection breaks after a write arrived and before its answer; the record says whether it
// landed.
func testUnknownPublish(f *fixture) {
	s, link := f.linked()
	o := f.acquire(s, "x")
	last := f.publish(s, o, 0, "first")
	link.HoldAnswers()
	failed := make(chan error, 1)
	ctx := f.ctx()
	go func() {
		_, err := s.Publish(ctx, o, store.PublishRequest{Head: []byte("second"), Last: last})
		failed <- err
	}()
	if !f.caps.CompareAndSet {
		// Such a store reads before it writes, so it stays at the reading; nothing landed, and the owner goes on.
		link.Cut()
		f.code(errcode.MetadataUnavailable, <-failed)
		link.Heal()
		f.back(s)
		require.Equal(f, "first", string(f.get(s, "x").Head))
		f.publish(s, o, last, "third")
		return
	}
	f.until("the write landed", func() error {
		if string(f.get(f.s, "x").Head) != "second" {
			return errNotYet
		}
		return nil
	})
	link.Cut()
	err := <-failed
	f.code(errcode.MetadataUnavailable, err)
	require.True(f, store.IsUnknown(err), "%v", err)
	link.Heal()
	f.back(s)
	r := f.get(s, "x")
	require.True(f, o.Holds(&r))
	require.Equal(f, "second", string(r.Head), "read back, it says that it landed")
	require.Greater(f, r.HeadRevision, last)
	f.lost(s, o, last, "blindly again")
	f.publish(s, o, r.HeadRevision, "third")
}

// testUnknownAcquire: read back, the record may name the asker; it takes its own record over, or asks again.
func testUnknownAcquire(f *fixture) {
	s, link := f.linked()
	f.back(s)
	request := f.request("x")
	link.HoldAnswers()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Acquire(ctx, request)
	f.code(errcode.MetadataUnavailable, err)
	link.Cut()
	link.Heal()
	f.back(s)
	r := f.get(s, "x")
	if r.Owner.Owned() {
		require.True(f, store.IsUnknown(err), "it landed, so nobody may say that it did not: %v", err)
		require.Equal(f, request.Instance, r.Owner.Instance)
	}
	f.until("the name is ours", func() error {
		_, err := s.Acquire(f.ctx(), request)
		if owned := (*store.OwnedError)(nil); errors.As(err, &owned) {
			require.Equal(f, request.Instance, owned.Record.Owner.Instance)
			request.Takeover = &owned.Record
		}
		return err
	})
}

// testNotSent: a write that never left is no unknown one.
func testNotSent(f *fixture) {
	s, link := f.linked()
	o := f.acquire(s, "x")
	link.Cut()
	f.until("the cut is felt", func() error {
		if _, err := s.Get(f.ctx(), "x"); err == nil {
			return errNotYet
		}
		return nil
	})
	_, err := s.Publish(f.ctx(), o, store.PublishRequest{Head: []byte("head")})
	f.code(errcode.MetadataUnavailable, err)
	require.False(f, store.IsUnknown(err), "%v", err)
	_, err = s.Acquire(f.ctx(), f.request("y"))
	f.code(errcode.MetadataUnavailable, err)
	require.False(f, store.IsUnknown(err), "%v", err)
	f.code(errcode.MetadataUnavailable, s.Release(f.ctx(), o))
	r := f.get(f.s, "x")
	require.Nil(f, r.Head)
	link.Heal()
	f.back(s)
	f.publish(s, o, 0, "head")
}

// testSilentServer: no call outlives its context.
func testSilentServer(f *fixture) {
	s, link := f.linked()
	o := f.acquire(s, "x")
	link.Silence()
	for name, call := range map[string]func(context.Context) error{
		"get":     func(ctx context.Context) error { _, err := s.Get(ctx, "x"); return err },
		"acquire": func(ctx context.Context) error { _, err := s.Acquire(ctx, f.request("y")); return err },
		"publish": func(ctx context.Context) error {
			_, err := s.Publish(ctx, o, store.PublishRequest{Head: []byte("head")})
			return err
		},
		"renew":   func(ctx context.Context) error { _, err := s.Renew(ctx, o); return err },
		"release": func(ctx context.Context) error { return s.Release(ctx, o) },
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		started := time.Now()
		err := call(ctx)
		cancel()
		f.code(errcode.MetadataUnavailable, err)
		require.Less(f, time.Since(started), patience, name)
		require.NotEmpty(f, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.Error(f, s.Watch(ctx, func(e store.Event) { f.Errorf("event %+v", e) }))
	link.Heal()
	f.back(s)
}

func testClose(f *fixture) {
	s := f.c.Open(f, f.cluster)
	o := f.acquire(s, "x")
	w := f.watch(s)
	w.listing()
	require.NoError(f, s.Close())
	require.NoError(f, s.Close(), "twice is once")
	f.code(errcode.Closed, w.end())
	_, err := s.Get(f.ctx(), "x")
	f.code(errcode.Closed, err)
	_, err = s.Acquire(f.ctx(), f.request("y"))
	f.code(errcode.Closed, err)
	_, err = s.Publish(f.ctx(), o, store.PublishRequest{Head: []byte("h")})
	f.code(errcode.Closed, err)
	_, err = s.Renew(f.ctx(), o)
	f.code(errcode.Closed, err)
	_, err = s.Remake(f.ctx(), o.StoreID)
	f.code(errcode.Closed, err)
	f.code(errcode.Closed, s.Release(f.ctx(), o))
	f.code(errcode.Closed, s.Watch(f.ctx(), func(store.Event) {}))
	r := f.get(f.s, "x")
	require.True(f, o.Holds(&r), "what was acquired stays until its lease runs out")
}
