package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// storeOf is the URL of a store of this test.
func storeOf(t *testing.T) string { return "mem://" + strings.ReplaceAll(t.Name(), "/", ".") }

// named makes an engine with a name in a store of this test, and claims the name.
func named(t *testing.T, name string, change ...func(*config.Config)) *rig {
	t.Helper()
	r := newRig(t, append([]func(*config.Config){func(c *config.Config) {
		c.Name, c.Metadata = name, storeOf(t)
		c.LeaseTTLMS, c.LeaseRenewMS = 3000, 500
	}}, change...)...)
	if name != "" {
		require.NoError(t, r.claim(false))
	}
	return r
}

func (r *rig) claim(takeover bool) error {
	r.t.Helper()
	task, err := r.Claim(takeover, 0, patience)
	require.NoError(r.t, err)
	require.True(r.t, task.Wait(patience))
	return task.Err()
}

func (r *rig) failedOpenNow(name string) error {
	r.t.Helper()
	task, err := r.Open(name, 100*time.Millisecond)
	if err != nil {
		return err
	}
	require.True(r.t, task.Wait(patience))
	require.Error(r.t, task.Err())
	return task.Err()
}

func TestNamesLeadToMemory(t *testing.T) {
	owner, reader := named(t, "decode-0"), named(t, "")
	theirs, mine := owner.buffer(1<<16, types.RemoteAll), reader.buffer(1<<16, types.RemoteNone)
	mine.bytes[17] = 42
	seg := reader.open("decode-0")
	reader.must(one(types.Write, seg, mine.id, theirs.id, 0, 0, 1<<16))
	require.Equal(t, byte(42), theirs.bytes[17])

	again, known := reader.OpenKnown("decode-0")
	require.True(t, known)
	require.Equal(t, seg, again, "a warm open gives the handle that there is")
	require.NoError(t, reader.CloseSegment(seg))
	reader.must(one(types.Read, seg, mine.id, theirs.id, 0, 0, 1<<16))
	require.NoError(t, reader.CloseSegment(seg))
	requireCode(t, errcode.Closed, reader.CloseSegment(seg))
	_, known = reader.OpenKnown("decode-0")
	require.False(t, known)
	_, known = reader.OpenKnown("decode-1")
	require.False(t, known)
}

func TestAnOwnNameLeadsToOneself(t *testing.T) {
	r := named(t, "me")
	a, b := r.buffer(4096, types.RemoteAll), r.buffer(4096, types.RemoteNone)
	a.bytes[1] = 7
	r.must(one(types.Read, r.open("me"), b.id, a.id, 0, 0, 4096))
	require.Equal(t, byte(7), b.bytes[1])
}

func TestOwnersAreReplacedUnderTheirName(t *testing.T) {
	first, reader := named(t, "node"), named(t, "")
	old := first.buffer(4096, types.RemoteAll)
	mine := reader.buffer(4096, types.RemoteNone)
	seg := reader.open("node")
	reader.must(one(types.Write, seg, mine.id, old.id, 0, 0, 4096))

	second := newRig(t, func(c *config.Config) { c.Name, c.Metadata = "node", "mem://"+t.Name() })
	requireCode(t, errcode.SegmentOwned, second.claim(false))
	require.NoError(t, second.claim(true))
	fresh := second.buffer(4096, types.RemoteAll)
	require.Eventually(t, func() bool {
		_, p, err := reader.segment("look", seg)
		return err == nil && p.instance == second.instance
	}, patience, time.Millisecond, "the segment follows its name")

	expected := one(types.Write, seg, mine.id, old.id, 0, 0, 4096)
	expected.Expected = first.instance
	_, err := reader.Submit(expected)
	requireCode(t, errcode.StaleInstance, err)
	task, err := reader.Refresh(seg, patience)
	require.NoError(t, err)
	reader.opened(task)
	reader.must(one(types.Write, seg, mine.id, fresh.id, 0, 0, 4096))

	require.Eventually(t, func() bool { return first.meta.announcer.Status().State == "FENCED" }, patience, time.Millisecond)
	require.NoError(t, first.claim(true), "a fenced owner may take its name back, as a new epoch")
	require.Eventually(t, func() bool { return second.meta.announcer.Status().State == "FENCED" }, patience, time.Millisecond)
}

func TestANameThatNobodyPublished(t *testing.T) {
	reader := named(t, "")
	requireCode(t, errcode.SegmentNotFound, reader.failedOpenNow("nobody"))
	for _, bad := range []string{"", "a/b", "a\x00b", string(make([]byte, 1024))} {
		requireCode(t, errcode.InvalidArgument, reader.failedOpenNow(bad))
	}
	require.Empty(t, reader.meta.names, "nothing is left of names that were not found")
}

func TestANameGoesWithItsEngine(t *testing.T) {
	owner, reader := named(t, "short"), named(t, "")
	seg := reader.open("short")
	owner.Destroy()
	require.Eventually(t, func() bool {
		task, err := reader.Sync(patience)
		require.NoError(t, err)
		require.True(t, task.Wait(patience))
		return len(task.result.(*SyncReport).Gone) == 1
	}, patience, 10*time.Millisecond)
	requireCode(t, errcode.SegmentGone, reader.failedOpenNow("short"))
	require.NoError(t, reader.CloseSegment(seg))
	again := named(t, "short")
	reader.must(one(types.Read, reader.open("short"), reader.buffer(64, types.RemoteNone).id, again.buffer(64, types.RemoteAll).id, 0, 0, 64))
}

func TestOneBatchIsOneVersionAndOnePublish(t *testing.T) {
	owner := named(t, "batch")
	stored := func() types.Version { return owner.meta.announcer.Status().Published }
	settled := func() {
		require.Eventually(t, func() bool { return !owner.meta.announcer.Status().Pending }, patience, time.Millisecond)
	}
	settled()
	before, publishes := stored(), owner.meta.announcer.Status().Counters.Landed
	regs := make([]Registration, 1000)
	b := owner.alloc(1000 * 64)
	for i := range regs {
		regs[i] = Registration{Address: b.addr + uint64(i)*64, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead}
	}
	version := owner.statusNow().Version
	_, err := owner.Register(regs)
	require.NoError(t, err)
	settled()
	require.Greater(t, stored(), before)
	require.Equal(t, publishes+1, owner.meta.announcer.Status().Counters.Landed)
	require.Greater(t, owner.statusNow().Version, version)

	local := owner.buffer(64, types.RemoteNone)
	settled()
	require.Equal(t, publishes+1, owner.meta.announcer.Status().Counters.Landed, "a local change publishes nothing")
	require.NotZero(t, local.id)
}

func TestPeerToPeerHasNoStore(t *testing.T) {
	r := newRig(t)
	_, err := r.Claim(false, 0, 0)
	requireCode(t, errcode.InvalidArgument, err)
	_, err = r.Sync(0)
	requireCode(t, errcode.InvalidArgument, err)
}
