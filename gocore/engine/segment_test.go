package engine

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func (r *rig) failedOpen(name string, timeout time.Duration) error {
	r.t.Helper()
	task, err := r.Open(name, timeout)
	if err != nil {
		return err
	}
	require.True(r.t, task.Wait(patience))
	return task.Err()
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	a := newRig(t)
	for _, name := range []string{"", "host", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:1-5", "[::1", "a b:1", "x:y:z"} {
		requireCode(t, errcode.InvalidArgument, a.failedOpen(name, time.Second))
	}
	err := a.failedOpen("127.0.0.1:1", 50*time.Millisecond)
	requireCode(t, errcode.PeerUnreachable, err)
	require.ErrorContains(t, err, "127.0.0.1:1")
	err = a.failedOpen("no-such-host.invalid:1", 50*time.Millisecond)
	requireCode(t, errcode.PeerUnreachable, err)
	require.ErrorContains(t, err, "no-such-host.invalid")
}

func TestOpenWaitsForAPeerThatStartsLater(t *testing.T) {
	a := newRig(t)
	address := freePort(t)
	task, err := a.Open(address, patience)
	require.NoError(t, err)
	require.False(t, task.Wait(60*time.Millisecond))
	newRig(t, func(c *config.Config) { c.Listen = address })
	a.opened(task)
}

func TestOpenOfWhatIsNoEngine(t *testing.T) {
	a := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example ESMTP\r\n"))
			_ = c.Close()
		}
	}()
	require.Error(t, a.failedOpen(l.Addr().String(), time.Second))
}

func TestAWrongKeyIsRefusedAtOnce(t *testing.T) {
	key := func(s string) func(*config.Config) { return func(c *config.Config) { c.PSK = s } }
	a, b, c := newRig(t, key("0123456789abcdef")), newRig(t, key("fedcba9876543210")), newRig(t, key("0123456789abcdef"))
	requireCode(t, errcode.MetadataRefused, a.failedOpen(b.address(), patience))
	a.open(c.address())
	requireCode(t, errcode.MetadataRefused, newRig(t).failedOpen(c.address(), patience))
}

func TestClosedAndUnknownSegments(t *testing.T) {
	a, b := newRig(t), newRig(t)
	seg := a.open(b.address())
	other := a.open(b.address())
	require.NotEqual(t, seg, other, "handles are never used again")
	require.NoError(t, a.CloseSegment(seg))
	requireCode(t, errcode.Closed, a.CloseSegment(seg))
	_, err := a.Refresh(seg, 0)
	requireCode(t, errcode.Closed, err)
	_, err = a.Ping(seg, 0)
	requireCode(t, errcode.Closed, err)
	_, err = a.SegmentJSON(999)
	requireCode(t, errcode.SegmentNotFound, err)
	text, err := a.SegmentJSON(other)
	require.NoError(t, err)
	var info SegmentInfo
	require.NoError(t, json.Unmarshal(text, &info))
	require.Equal(t, b.instance.String(), info.Instance)
}

func TestDescriptorListsWhatIsOffered(t *testing.T) {
	a, b := newRig(t), newRig(t)
	listed := b.alloc(4096)
	ids, err := b.Register([]Registration{
		{Address: listed.addr, Length: 4096, Remote: types.RemoteAll, Perm: types.PermRead, Label: "kv"},
		{Address: listed.addr, Length: 100, Remote: types.RemoteGrants, Perm: types.PermRead},
		{Address: listed.addr, Length: 200, Remote: types.RemoteNone},
	})
	require.NoError(t, err)
	text, err := a.SegmentJSON(a.open(b.address()))
	require.NoError(t, err)
	var info SegmentInfo
	require.NoError(t, json.Unmarshal(text, &info))
	require.Equal(t, []SegmentBuffer{{ID: ids[0], Length: 4096, State: "READY", Perm: "r", Label: "kv", Location: info.Buffers[0].Location}}, info.Buffers)
}

// One published change is one version and one publish; a local-only change publishes nothing.
func TestVersionsFollowPublishedChanges(t *testing.T) {
	a := newRig(t)
	m := a.alloc(4096)
	before := a.statusNow()
	_, err := a.Register([]Registration{{Address: m.addr, Length: 1}, {Address: m.addr, Length: 1, Remote: types.RemoteGrants, Perm: 1}})
	require.NoError(t, err)
	require.Equal(t, before.Published, a.statusNow().Published)
	many := make([]Registration, 1000)
	for i := range many {
		many[i] = Registration{Address: m.addr, Length: 4096, Remote: types.RemoteAll, Perm: 1}
	}
	_, err = a.Register(many)
	require.NoError(t, err)
	require.Greater(t, a.statusNow().Published, before.Published)
	text, err := a.MetricsText()
	require.NoError(t, err)
	require.Contains(t, string(text), "mooncake_te_publishes_total 1\n")
}

func TestNotificationsComeAfterTheirData(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 4 << 20
	local, remote := a.buffer(n, types.RemoteNone), b.buffer(n, types.RemoteAll)
	seg := a.open(b.address())
	for i := range 20 {
		pattern(local.bytes, byte(i))
		batch := a.submit(one(types.Write, seg, local.id, remote.id, 0, 0, n))
		task, err := a.Notify(seg, []byte{byte(i)}, "done", batch, patience)
		require.NoError(t, err)
		var got []Notification
		require.True(t, waitUntil(func() bool { got = append(got, b.Notifications()...); return len(got) > 0 }))
		require.Equal(t, []Notification{{Peer: a.instance.String(), Tag: "done", Payload: []byte{byte(i)}}}, got)
		require.Equal(t, local.bytes, remote.bytes)
		require.True(t, task.Wait(patience))
		require.NoError(t, task.Err())
		require.NoError(t, a.finish(batch))
	}
}

func TestNotifyAfterAFailedBatchIsNotSent(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local := a.buffer(64, types.RemoteNone)
	seg := a.open(b.address())
	batch := a.submit(one(types.Write, seg, local.id, 12345, 0, 0, 64))
	task, err := a.Notify(seg, []byte("x"), "", batch, patience)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	requireCode(t, errcode.StaleBuffer, task.Err())
	require.Empty(t, b.Notifications())
	_, err = a.Notify(seg, make([]byte, 2<<20), "", Batch{}, 0)
	requireCode(t, errcode.InvalidArgument, err)
}

// One peer may fill a quarter of the queue, so that it does not fill it for all.
func TestNotificationQueueIsBounded(t *testing.T) {
	a, b := newRig(t), newRig(t, func(c *config.Config) { c.MaxNotifications = 12 })
	seg := a.open(b.address())
	for i := range 5 {
		task, err := a.Notify(seg, []byte("x"), "", Batch{}, patience)
		require.NoError(t, err)
		require.True(t, task.Wait(patience))
		if i < 3 {
			require.NoError(t, task.Err())
		} else {
			requireCode(t, errcode.ResourceExhausted, task.Err())
		}
	}
	require.Len(t, b.Notifications(), 3)
}

func TestPing(t *testing.T) {
	a, b := newRig(t), newRig(t)
	seg := a.open(b.address())
	task, err := a.Ping(seg, patience)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())
	require.Positive(t, task.result.(map[string]float64)["rtt_us"])
	b.Destroy()
	task, err = a.Ping(seg, 300*time.Millisecond)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	require.Error(t, task.Err())
}

// A data port that cannot be reached ends batches with that reason long before the stall deadline.
func TestUnreachableDataPort(t *testing.T) {
	dead := freePort(t)
	a, b := newRig(t), newRig(t, func(c *config.Config) { c.DataAdvertise = []string{dead} })
	local, remote := a.buffer(64, types.RemoteNone), b.buffer(64, types.RemoteAll)
	seg := a.open(b.address())
	err := a.finish(a.submit(one(types.Write, seg, local.id, remote.id, 0, 0, 64)))
	requireCode(t, errcode.PeerUnreachable, err)
	require.ErrorContains(t, err, dead)
}

func TestPortInUse(t *testing.T) {
	a := newRig(t)
	cfg := config.Default()
	cfg.Listen = a.address()
	_, err := New(cfg)
	requireCode(t, errcode.InvalidArgument, err)
	require.ErrorContains(t, err, a.address())
	cfg = config.Default()
	cfg.DataListen = a.Info().DataAddresses[0]
	_, err = New(cfg)
	require.Error(t, err)
}

func TestCancelFailsNobodyElse(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 32 << 20
	local, remote := a.buffer(n, types.RemoteNone), b.buffer(n, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Write, seg, local.id, remote.id, 0, 0, 4096))
	cancelled := 0
	for i := range 30 {
		doomed := a.submit(one(types.Op(1+i%2), seg, local.id, remote.id, 0, 0, n/2))
		kept := a.submit(one(types.Op(1+i%2), seg, local.id, remote.id, n/2, n/2, n/2))
		doomed.Cancel()
		require.NoError(t, a.finish(kept))
		if err := a.finish(doomed); err != nil {
			requireCode(t, errcode.Canceled, err)
			cancelled++
		}
	}
	require.Positive(t, cancelled)
	t.Logf("%d of 30 were cancelled in time", cancelled)
}

func TestMemoryOfTheEngine(t *testing.T) {
	a := newRig(t, func(c *config.Config) { c.MaxAllocatedBytes = 1 << 20 })
	_, err := a.Allocate(2 << 20)
	requireCode(t, errcode.ResourceExhausted, err)
	_, err = a.Allocate(0)
	requireCode(t, errcode.InvalidArgument, err)
	b := a.buffer(4096, types.RemoteAll)
	requireCode(t, errcode.InvalidArgument, a.Free(b.addr))
	a.drained([]types.BufferID{b.id}, 0)
	require.NoError(t, a.Free(b.addr))
	requireCode(t, errcode.InvalidArgument, a.Free(b.addr))
}

func TestBadRegistrations(t *testing.T) {
	a := newRig(t)
	m := a.alloc(4096)
	for name, r := range map[string]Registration{
		"no address":        {Length: 1},
		"no length":         {Address: m.addr},
		"wraps":             {Address: ^uint64(0) - 1, Length: 16},
		"no permission":     {Address: m.addr, Length: 1, Remote: types.RemoteAll},
		"unknown bits":      {Address: m.addr, Length: 1, Remote: types.RemoteAll, Perm: 8},
		"read-only, write":  {Address: m.addr, Length: 1, Remote: types.RemoteAll, Perm: types.PermReadWrite},
		"unknown remote":    {Address: m.addr, Length: 1, Remote: 9},
		"label is too long": {Address: m.addr, Length: 1, Label: string(make([]byte, 300))},
	} {
		_, err := a.Register([]Registration{r})
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), name)
	}
	_, err := a.Register(nil)
	requireCode(t, errcode.InvalidArgument, err)
	_, err = a.Grant(77, []types.Range{{Off: 0, Len: 1}}, types.PermRead, types.InstanceID{})
	requireCode(t, errcode.StaleBuffer, err)
	b := a.buffer(4096, types.RemoteGrants)
	_, err = a.Grant(b.id, []types.Range{{Off: 4090, Len: 7}}, types.PermRead, types.InstanceID{})
	requireCode(t, errcode.InvalidArgument, err)
	_, err = a.Grant(b.id, []types.Range{{Off: 0, Len: 7}, {Off: 6, Len: 7}}, types.PermRead, types.InstanceID{})
	requireCode(t, errcode.InvalidArgument, err)
}
