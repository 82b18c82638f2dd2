package capi

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func insertEngine(t *testing.T) uint64 {
	t.Helper()
	e, err := engine.New(config.Default())
	require.NoError(t, err)
	h, err := engines.insert(&engineObject{Engine: e}, 0)
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

// submitToSelf is a batch of an engine that reads its own memory.
func submitToSelf(t *testing.T, e *engine.Engine) engine.Batch {
	t.Helper()
	const n = 4096
	address, err := e.Allocate(n)
	require.NoError(t, err)
	ids, err := e.Register([]engine.Registration{
		{Address: address, Length: n, Remote: types.RemoteAll, Perm: types.PermReadWrite, Writable: true},
	})
	require.NoError(t, err)
	task, err := e.Open(e.Info().Addresses[0], time.Minute)
	require.NoError(t, err)
	require.True(t, task.Wait(time.Minute))
	text, err := task.ResultJSON()
	require.NoError(t, err)
	var opened engine.OpenResult
	require.NoError(t, json.Unmarshal(text, &opened))
	id := []uint64{uint64(ids[0])}
	b, err := e.Submit(&engine.Submission{
		Op: types.Read, Segment: opened.Segment, LocalIDs: id, RemoteIDs: id, Lens: []uint64{n / 2},
		LocalOffs: []uint64{0}, RemoteOffs: []uint64{n / 2},
	})
	require.NoError(t, err)
	return b
}

func TestBatchesAndTasksGoWithTheirEngine(t *testing.T) {
	first, second := insertEngine(t), insertEngine(t)
	e, err := enterEngine("call", first)
	require.NoError(t, err)
	other, err := enterEngine("call", second)
	require.NoError(t, err)
	mine, err := tasks.insert(&taskObject{engine: e}, 0)
	require.NoError(t, err)
	theirs, err := tasks.insert(&taskObject{engine: other}, 0)
	require.NoError(t, err)
	batch, err := batches.insert(submitToSelf(t, e.Engine).Split())
	require.NoError(t, err)
	e.leave()
	other.leave()

	_, err = enterTask("call", first, theirs)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, _, err = enterBatch("call", second, batch)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	require.Zero(t, e.calls.Count()+other.calls.Count(), "a refused call does not stay inside")

	require.NoError(t, destroyEngine("destroy", first))
	_, _, is := tasks.lookup(mine)
	require.Equal(t, closed, is)
	_, _, is = batches.lookup(batch)
	require.Equal(t, closed, is)
	_, _, is = tasks.lookup(theirs)
	require.Equal(t, live, is)
	tasks.remove(theirs)
	_, _, err = enterBatch("call", first, batch)
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
