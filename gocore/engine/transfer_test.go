package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestReadAndWriteBetweenTwoEngines(t *testing.T) {
	for _, crc := range []bool{true, false} {
		a, b := newRig(t, func(c *config.Config) { c.CRC = crc }), newRig(t)
		const n = 9<<20 + 123
		local, remote := a.buffer(n, types.RemoteNone), b.buffer(n, types.RemoteAll)
		pattern(remote.bytes, 7)
		seg := a.open(b.address())

		a.must(one(types.Read, seg, local.id, remote.id, 0, 0, n))
		require.Equal(t, remote.bytes, local.bytes)

		pattern(local.bytes, 99)
		a.must(one(types.Write, seg, local.id, remote.id, 0, 0, n))
		require.Equal(t, local.bytes, remote.bytes)
	}
}

func TestAnEngineReachesItself(t *testing.T) {
	a := newRig(t)
	const n = 3 << 20
	local, remote := a.buffer(n, types.RemoteNone), a.buffer(n, types.RemoteAll)
	pattern(remote.bytes, 7)
	seg := a.open(a.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, n))
	require.Equal(t, remote.bytes, local.bytes)
	pattern(local.bytes, 9)
	a.must(one(types.Write, seg, local.id, remote.id, 5, 5, n-5))
	require.Equal(t, local.bytes[5:], remote.bytes[5:])

	report := a.drained([]types.BufferID{remote.id}, patience)
	require.Len(t, report.Acknowledged, 1)
	_, err := a.Submit(one(types.Read, seg, local.id, remote.id, 0, 0, n))
	require.Error(t, err)
}

func TestScatteredBlocks(t *testing.T) {
	a, b := newRig(t), newRig(t)
	for _, blocks := range []int{1, 1025, 70_000} {
		const size = 64
		local, remote := a.buffer(blocks*size, types.RemoteNone), b.buffer(blocks*size, types.RemoteAll)
		pattern(remote.bytes, 3)
		seg := a.open(b.address())
		s := &Submission{
			Op: types.Read, Segment: seg, LocalIDs: []uint64{uint64(local.id)}, RemoteIDs: []uint64{uint64(remote.id)},
			Lens: []uint64{size},
		}
		want := make([]byte, len(local.bytes))
		for i := range blocks {
			from := (i * 7919) % blocks
			s.LocalOffs = append(s.LocalOffs, uint64(i*size))
			s.RemoteOffs = append(s.RemoteOffs, uint64(from*size))
			copy(want[i*size:], remote.bytes[from*size:(from+1)*size])
		}
		a.must(s)
		require.Equal(t, want, local.bytes)
	}
}

func TestStatusWordsAndProgress(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 8 << 20
	local, remote := a.buffer(n, types.RemoteNone), b.buffer(n, types.RemoteAll)
	seg := a.open(b.address())
	batch := a.submit(one(types.Read, seg, local.id, remote.id, 0, 0, n))
	require.True(t, batch.Wait(patience))
	w := wordsAt(batch.StatusAddr())
	require.Equal(t, statusWords{state: 1, outcome: uint32(types.Completed), remoteQuiet: 1, bytesDone: n, bytesTotal: n}, *w)
	require.NoError(t, batch.Free())
	require.NoError(t, batch.Free(), "freeing twice is harmless")
}

func TestBadSubmissionsAreRefusedBeforeAnythingMoves(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	readOnly := a.alloc(4096)
	ids, err := a.Register([]Registration{{Address: readOnly.addr, Length: 4096}})
	require.NoError(t, err)
	readOnly.id = ids[0]
	seg := a.open(b.address())
	two := func(op types.Op, l0, l1, r0, r1 uint64) *Submission {
		s := one(op, seg, local.id, remote.id, l0, r0, 64)
		s.LocalOffs, s.RemoteOffs = append(s.LocalOffs, l1), append(s.RemoteOffs, r1)
		return s
	}
	for name, c := range map[string]struct {
		s    *Submission
		code errcode.Code
	}{
		"unknown segment":         {one(types.Read, 77, local.id, remote.id, 0, 0, 1), errcode.SegmentNotFound},
		"unknown local buffer":    {one(types.Read, seg, 12345, remote.id, 0, 0, 1), errcode.StaleBuffer},
		"local out of bounds":     {one(types.Read, seg, local.id, remote.id, 4090, 0, 7), errcode.OutOfBounds},
		"local wraps":             {one(types.Read, seg, local.id, remote.id, ^uint64(0), 0, 7), errcode.OutOfBounds},
		"remote out of bounds":    {one(types.Read, seg, local.id, remote.id, 0, 4090, 7), errcode.OutOfBounds},
		"remote wraps":            {one(types.Read, seg, local.id, remote.id, 0, ^uint64(0), 7), errcode.OutOfBounds},
		"zero length":             {one(types.Read, seg, local.id, remote.id, 0, 0, 0), errcode.InvalidArgument},
		"read-only target":        {one(types.Read, seg, readOnly.id, remote.id, 0, 0, 8), errcode.Permission},
		"empty batch":             {&Submission{Op: types.Read, Segment: seg}, errcode.InvalidArgument},
		"bad operation":           {one(9, seg, local.id, remote.id, 0, 0, 8), errcode.InvalidArgument},
		"overlap at read target":  {two(types.Read, 0, 63, 0, 64), errcode.InvalidArgument},
		"overlap at write target": {two(types.Write, 0, 64, 63, 0), errcode.InvalidArgument},
		"another instance": {func() *Submission {
			s := one(types.Read, seg, local.id, remote.id, 0, 0, 8)
			s.Expected = types.NewInstanceID()
			return s
		}(), errcode.StaleInstance},
		"block lists differ": {func() *Submission {
			s := one(types.Read, seg, local.id, remote.id, 0, 0, 8)
			s.RemoteOffs = append(s.RemoteOffs, 8)
			return s
		}(), errcode.InvalidArgument},
		"too many requests": {&Submission{Op: types.Read, Segment: seg, LocalOffs: make([]uint64, MaxRequests+1)}, errcode.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Submit(c.s)
			requireCode(t, c.code, err)
		})
	}
	// A read may name the same source twice: only targets must not overlap.
	a.must(two(types.Read, 0, 64, 0, 0))
	// An ID the owner never gave is asked for once and refused by the owner.
	requireCode(t, errcode.StaleBuffer, a.finish(a.submit(one(types.Read, seg, local.id, 999, 0, 0, 8))))
	require.Zero(t, a.statusNow().LiveBatches)
}

func TestRequestsHaveTheirOwnOutcome(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, one1, two2 := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll), b.buffer(4096, types.RemoteGrants)
	seg := a.open(b.address())
	grant, err := b.Grant(two2.id, []types.Range{{Off: 0, Len: 64}}, types.PermRead, types.InstanceID{})
	require.NoError(t, err)
	batch := a.submit(&Submission{
		Op: types.Read, Segment: seg, LocalIDs: []uint64{uint64(local.id)},
		RemoteIDs: []uint64{uint64(one1.id), uint64(grant), 4242},
		LocalOffs: []uint64{0, 64, 128}, RemoteOffs: []uint64{0, 0, 0}, Lens: []uint64{64},
	})
	require.True(t, batch.Wait(patience))
	requireCode(t, errcode.StaleBuffer, batch.Err())
	outcomes, causes := make([]uint8, 3), make([]int32, 3)
	require.NoError(t, batch.Outcomes(0, 3, outcomes, causes))
	require.Equal(t, []uint8{uint8(types.Completed), uint8(types.Completed), uint8(types.NotApplied)}, outcomes)
	require.Equal(t, []int32{0, 0, int32(errcode.StaleBuffer)}, causes)
	require.Equal(t, uint32(types.Partial), wordsAt(batch.StatusAddr()).outcome)
	requireCode(t, errcode.InvalidArgument, batch.Outcomes(2, 2, outcomes, nil))
	require.NoError(t, batch.Free())
}

func TestPermissionsAreCheckedByTheOwner(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteGrants)
	seg := a.open(b.address())
	submitErr := func(s *Submission) error {
		batch, err := a.Submit(s)
		if err != nil {
			return err
		}
		return a.finish(batch)
	}
	readable, err := b.Grant(remote.id, []types.Range{{Off: 0, Len: 1024}}, types.PermRead, types.InstanceID{})
	require.NoError(t, err)
	a.must(one(types.Read, seg, local.id, readable, 0, 0, 1024))
	requireCode(t, errcode.Permission, submitErr(one(types.Write, seg, local.id, readable, 0, 0, 1024)))
	requireCode(t, errcode.OutOfBounds, submitErr(one(types.Read, seg, local.id, readable, 0, 0, 1025)))

	another, err := b.Grant(remote.id, []types.Range{{Off: 0, Len: 1024}}, types.PermReadWrite, types.NewInstanceID())
	require.NoError(t, err)
	requireCode(t, errcode.Permission, submitErr(one(types.Read, seg, local.id, another, 0, 0, 8)))
	// The registration itself is granted to nobody.
	require.Error(t, submitErr(one(types.Read, seg, local.id, remote.id, 0, 0, 8)))
}
