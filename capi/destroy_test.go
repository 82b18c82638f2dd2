package capi

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
)

func insertEngine(t *testing.T) uint64 {
	t.Helper()
	e, err := engine.New(config.Default())
	require.NoError(t, err)
	h, err := engines.insert(&engineObject{Engine: e})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, destroyEngine("clean up", h)) })
	return h
}

// Destroy turns new calls away at once, and does not touch the engine while a call is inside.
func TestDestroyWaitsForCallsInside(t *testing.T) {
	h := insertEngine(t)
	inside, err := enterEngine("call", h)
	require.NoError(t, err)
	destroyed := make(chan error)
	go func() { destroyed <- destroyEngine("destroy", h) }()
	for err == nil {
		var e *engineObject
		if e, err = enterEngine("another call", h); err == nil {
			e.leave()
			runtime.Gosched()
		}
	}
	require.Equal(t, errcode.Closed, errcode.Of(err))
	for range 500 { // the call inside still has a whole engine
		address, err := inside.Allocate(4096)
		require.NoError(t, err)
		require.NoError(t, inside.Free(address))
		runtime.Gosched()
	}
	inside.leave()
	require.NoError(t, <-destroyed)
	require.NoError(t, destroyEngine("destroy again", h))
}

func TestBatchesAndTasksGoWithTheirEngine(t *testing.T) {
	first, second := insertEngine(t), insertEngine(t)
	e, err := enterEngine("call", first)
	require.NoError(t, err)
	other, err := enterEngine("call", second)
	require.NoError(t, err)
	mine, err := tasks.insert(&taskObject{engine: e})
	require.NoError(t, err)
	theirs, err := tasks.insert(&taskObject{engine: other})
	require.NoError(t, err)
	batch, err := batches.insert(&batchObject{engine: e})
	require.NoError(t, err)
	e.leave()
	other.leave()

	_, err = enterTask("call", first, theirs)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = enterBatch("call", second, batch)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	require.Zero(t, e.calls.Count()+other.calls.Count(), "a refused call does not stay inside")

	require.NoError(t, destroyEngine("destroy", first))
	_, is := tasks.lookup(mine)
	require.Equal(t, closed, is)
	_, is = batches.lookup(batch)
	require.Equal(t, closed, is)
	_, is = tasks.lookup(theirs)
	require.Equal(t, live, is)
	tasks.remove(theirs)
	_, err = enterBatch("call", first, batch)
	require.Equal(t, errcode.Closed, errcode.Of(err))
}

// A query that fails takes no notification: they are kept until one delivers them.
func TestUndeliveredNotificationsAreKept(t *testing.T) {
	e, err := enterEngine("call", insertEngine(t))
	require.NoError(t, err)
	defer e.leave()
	var got string
	keep := func(text []byte) error { got = string(text); return nil }
	require.NoError(t, e.takeNotifications(keep))
	require.Equal(t, "[]", got)

	e.undelivered = []engine.Notification{{Peer: "p", Tag: "t", Payload: []byte("x")}}
	refuse := errcode.New(errcode.BufferTooSmall, "copy", "too small")
	require.Equal(t, refuse, e.takeNotifications(func([]byte) error { return refuse }))
	require.NoError(t, e.takeNotifications(keep))
	require.Equal(t, `[{"peer":"p","tag":"t","payload_b64":"eA=="}]`, got)
	require.NoError(t, e.takeNotifications(keep))
	require.Equal(t, "[]", got)
}
