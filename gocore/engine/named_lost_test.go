package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// An operation that waits for an owner which cannot be reached ends as soon as its name leads to another instance, and
// not when the owner has been silent for three heartbeats.
func TestWhoWaitsForALostOwnerLearnsOfItsSuccessor(t *testing.T) {
	patient := func(c *config.Config) { c.HeartbeatMS = 60_000 }
	control, data := newCutter(t), newCutter(t)
	cl, dl := freePort(t), freePort(t)
	first := named(t, "node", patient, func(c *config.Config) {
		c.Listen, c.DataListen = cl, dl
		c.Advertise, c.DataAdvertise = []string{control.addr()}, []string{data.addr()}
	})
	control.serve(cl)
	data.serve(dl)
	reader := named(t, "", patient)
	theirs, mine := first.buffer(4096, types.RemoteAll), reader.buffer(4096, types.RemoteNone)
	seg := reader.open("node")
	reader.must(one(types.Read, seg, mine.id, theirs.id, 0, 0, 4096))

	require.NoError(t, control.l.Close())
	require.NoError(t, data.l.Close())
	control.cut()
	data.cut()
	_, p, err := reader.segment("look", seg)
	require.NoError(t, err)
	require.True(t, waitUntil(func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.session == nil && len(p.paths) == 0
	}), "the reader has lost it")
	waiting := reader.submit(one(types.Read, seg, mine.id, theirs.id, 0, 0, 4096))

	second := named(t, "", func(c *config.Config) { c.Name = "node" })
	require.NoError(t, second.claim(true))
	requireCode(t, errcode.StaleInstance, reader.finish(waiting))
	fresh := second.buffer(4096, types.RemoteAll)
	reader.must(one(types.Read, seg, mine.id, fresh.id, 0, 0, 4096))
}
