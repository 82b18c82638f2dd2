package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond, what)
}

func requireCode(t *testing.T, want errcode.Code, err error) {
	t.Helper()
	require.Equal(t, want, errcode.Of(err), "%v", err)
}

func storedHead(t *testing.T, s store.Store, name string) *descriptor.Head {
	t.Helper()
	r, err := s.Get(t.Context(), name)
	require.NoError(t, err)
	if r.Head == nil {
		return nil
	}
	h, err := descriptor.DecodeHead(r.Head)
	require.NoError(t, err)
	return h
}

func TestChangesReachTheStore(t *testing.T) {
	s := client(t, server(t))
	o := newOwner(t, s, "n")
	require.NoError(t, o.claims(false))
	require.Equal(t, types.Version(10), storedHead(t, s, "n").Version)
	for range 500 {
		o.step()
	}
	eventually(t, func() bool { return storedHead(t, s, "n").Version == 510 }, "the last change is published")
	require.Less(t, o.Status().Counters.Landed, uint64(100), "changes in quick succession go out together")
}

func TestALaterOwnerGoesOnAboveTheVersionThatItFinds(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	first := newOwner(t, s, "n")
	require.NoError(t, first.claims(false))
	first.mu.Lock()
	first.version = 1000
	first.mu.Unlock()
	first.Changed(1000)
	eventually(t, func() bool { return storedHead(t, s, "n").Version == 1000 }, "")
	second := newOwner(t, client(t, srv), "n")
	requireCode(t, errcode.SegmentOwned, second.claims(false))
	require.NoError(t, second.claims(true))
	h := storedHead(t, s, "n")
	require.Equal(t, second.instance, h.Instance)
	eventually(t, func() bool { return first.seen("fenced") }, "the old owner hears of it")
	first.step()
	require.Never(t, func() bool { return storedHead(t, s, "n").Instance != second.instance }, 300*time.Millisecond, 10*time.Millisecond)
}

func TestAPatientClaimWaitsForTheLease(t *testing.T) {
	srv := server(t)
	first := newOwner(t, client(t, srv), "n")
	require.NoError(t, first.claims(false))
	first.Close() // as if killed: nothing is released
	second := newOwner(t, client(t, srv), "n")
	require.NoError(t, second.Claim(t.Context(), false, patience))
	require.Greater(t, second.Status().Epoch, first.Status().Epoch)
}

func TestAnEmptiedStoreIsFilledAgain(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	o := newOwner(t, s, "n")
	require.NoError(t, o.claims(false))
	before := storedHead(t, s, "n")
	srv.Wipe()
	eventually(t, func() bool { return storedHead(t, s, "n") != nil }, "owners publish anew by themselves")
	after := storedHead(t, s, "n")
	require.NotEqual(t, before.StoreID, after.StoreID)
	require.Greater(t, after.Version, types.Version(0))
	eventually(t, func() bool { return o.seen("store_went_back") }, "and say so")
}

func TestAStoreThatIsAwayHoldsNobodyUp(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	srv.Link().Cut()
	o := newOwner(t, s, "n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	requireCode(t, errcode.MetadataUnavailable, o.Claim(ctx, false, 0))
	for range 1000 {
		o.step() // takes a lock for a moment
	}
	srv.Link().Heal()
	eventually(t, func() bool { h := storedHead(t, s, "n"); return h != nil && h.Version == 1010 }, "it goes on by itself")
}

func TestAnAnswerThatIsLostIsReadBack(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	o := newOwner(t, s, "n")
	require.NoError(t, o.claims(false))
	srv.Link().HoldAnswers()
	o.step()
	eventually(t, func() bool { return o.Status().Counters.UnknownOutcomes > 0 }, "the publish times out")
	srv.Link().Heal()
	other := client(t, srv)
	eventually(t, func() bool {
		h := storedHead(t, other, "n")
		return h != nil && h.Version >= 11 && h.Instance == o.instance
	}, "")
	eventually(t, func() bool { s := o.Status(); return s.State == "OWNING" && !s.Pending }, "and it is still the owner")
}

func TestReleaseIsForTheOwnerOnly(t *testing.T) {
	srv := server(t)
	s := client(t, srv)
	first := newOwner(t, s, "n")
	require.NoError(t, first.claims(false))
	second := newOwner(t, client(t, srv), "n")
	require.NoError(t, second.claims(true))
	first.Release(t.Context())
	require.Equal(t, second.instance, storedHead(t, s, "n").Instance)
	second.Release(t.Context())
	require.Nil(t, storedHead(t, s, "n"))
}

func TestAClosedAnnouncerAnswers(t *testing.T) {
	o := newOwner(t, client(t, server(t)), "n")
	o.Close()
	requireCode(t, errcode.Closed, o.claims(false))
	o.Release(timeout(t, 10*time.Millisecond))
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
