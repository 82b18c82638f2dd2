package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

const short = 100 * time.Millisecond

func TestANameLeadsToItsOwnerAndFollowsIt(t *testing.T) {
	srv := server(t)
	first := newOwner(t, client(t, srv), "n")
	require.NoError(t, first.claims(false))
	r := newReader(t, client(t, srv))
	require.NoError(t, r.opens(t, "n", patience))
	require.Equal(t, first.instance, r.lead("n"), "an answer comes after what led to it")

	second := newOwner(t, client(t, srv), "n")
	require.NoError(t, second.claims(true))
	eventually(t, func() bool { return r.lead("n") == second.instance }, "the watch tells")
	id, fresh := r.OpenFresh("n")
	require.True(t, fresh)
	require.Equal(t, second.instance, id)
	r.Close("n")
	r.Close("n")
	require.Zero(t, r.Stats().Names, "nothing is left of a name that nobody has open")
}

func TestErrorsAreKeptApart(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	r := newReader(t, s)
	requireCode(t, errcode.SegmentNotFound, r.opens(t, "n", short))

	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r.kill(o.instance)
	requireCode(t, errcode.PeerUnreachable, r.opens(t, "n", short))

	garbage := newOwner(t, client(t, srv), "g")
	garbage.cfg.Render = func(uint64, string) (Document, error) {
		return Document{Version: garbage.now(), Head: []byte(`{"format": 1, "instance_id": 7}`)}, nil
	}
	require.NoError(t, garbage.claims(false))
	err := r.opens(t, "g", short)
	requireCode(t, errcode.MetadataInvalid, err)
	require.ErrorContains(t, err, "instance_id")
	require.ErrorContains(t, err, "mem://")
	require.ErrorContains(t, err, `"mooncake_te/head/g"`)

	srv.Link().Cut()
	requireCode(t, errcode.MetadataUnavailable, r.opens(t, "other", short))
	requireCode(t, errcode.SegmentNotFound, r.Refresh(timeout(t, short), "n2"))
}

func TestSyncReportsWhatIsGone(t *testing.T) {
	srv := server(t)
	gone, stays := newOwner(t, client(t, srv), "gone"), newOwner(t, client(t, srv), "stays")
	require.NoError(t, gone.claims(false))
	require.NoError(t, stays.claims(false))
	r := newReader(t, client(t, srv))
	require.NoError(t, r.opens(t, "gone", patience))
	require.NoError(t, r.opens(t, "stays", patience))
	gone.Release(t.Context())
	found := r.Sync(timeout(t, patience))
	require.NoError(t, found["stays"])
	requireCode(t, errcode.SegmentGone, found["gone"])
	require.Equal(t, gone.instance, r.lead("gone"), "sessions go on")
}

func TestASlowStoreIsAskedOncePerName(t *testing.T) {
	srv := server(t)
	r := newReader(t, client(t, srv))
	srv.Link().Silence()
	errs := make(chan error, 100)
	for range cap(errs) {
		go func() { errs <- r.opens(t, "n", 3*short) }()
	}
	for range cap(errs) {
		requireCode(t, errcode.MetadataUnavailable, <-errs)
	}
	require.LessOrEqual(t, r.Stats().Gets, uint64(4))
	srv.Link().Heal()
	eventually(t, func() bool { return r.Stats().Names == 0 }, "nothing is left of it once the last request ended")
}

func TestAWatchThatBreaksIsTakenUpAgain(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r := newReader(t, client(t, srv))
	require.NoError(t, r.opens(t, "n", patience))
	for range 3 {
		listings := r.Stats().Listings
		srv.Compact()
		eventually(t, func() bool { return r.Stats().Listings > listings && r.Stats().Watching }, "it lists again")
	}
	second := newOwner(t, client(t, srv), "n")
	require.NoError(t, second.claims(true))
	eventually(t, func() bool { return r.lead("n") == second.instance }, "")
}

func TestAWipedStoreLeadsToTheSameInstance(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r := newReader(t, client(t, srv))
	require.NoError(t, r.opens(t, "n", patience))
	srv.Wipe()
	eventually(t, func() bool { return r.Stats().StoreChanges > 0 }, "it is noticed")
	eventually(t, func() bool { return r.Refresh(timeout(t, patience), "n") == nil }, "")
	require.Equal(t, o.instance, r.lead("n"))
}

func TestWhoWaitsIsToldWhenTheResolverShuts(t *testing.T) {
	r := newReader(t, client(t, server(t)))
	errs := make(chan error)
	go func() { errs <- r.opens(t, "n", patience) }()
	eventually(t, func() bool { return r.Stats().Waiting == 1 }, "")
	r.Shut()
	requireCode(t, errcode.Closed, <-errs)
	requireCode(t, errcode.Closed, r.opens(t, "n", patience))
}

func TestWarmOpensAllocateNothing(t *testing.T) {
	srv := server(t)
	o := newOwner(t, client(t, srv), "n")
	require.NoError(t, o.claims(false))
	r := newReader(t, client(t, srv))
	require.NoError(t, r.opens(t, "n", patience))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, fresh := r.OpenFresh("n"); fresh {
			r.Close("n")
		}
	}))
}
