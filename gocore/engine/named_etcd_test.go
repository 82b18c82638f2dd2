package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/types"
)

// 1,000 buffers in one batch are one version and one publish, with a real etcd too, and a reader finds them all.
func TestOneBatchIsOnePublishInEtcd(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	url := "etcd://" + c.Endpoints()[0]
	inEtcd := func(c *config.Config) { c.Metadata = url }
	owner, reader := named(t, "batch", inEtcd), named(t, "", inEtcd)
	settled := func() uint64 {
		require.Eventually(t, func() bool { return !owner.meta.announcer.Status().Pending }, patience, time.Millisecond)
		return owner.meta.announcer.Status().Counters.Landed
	}
	before, publishes := owner.meta.announcer.Status().Published, settled()
	regs := make([]Registration, 1000)
	b := owner.alloc(len(regs) * 64)
	for i := range regs {
		regs[i] = Registration{Address: b.addr + uint64(i)*64, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead}
	}
	_, err := owner.Register(regs)
	require.NoError(t, err)
	require.Equal(t, publishes+1, settled())
	version := owner.meta.announcer.Status().Published
	require.Greater(t, version, before)
	_, p, err := reader.segment("look", reader.open("batch"))
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Equal(t, version, p.view.Descriptor().Version)
	require.Len(t, p.view.Descriptor().Buffers, len(regs))
}
