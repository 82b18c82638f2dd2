package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestOpensShareOneGet(t *testing.T) {
	r := newDirRig(t)
	first := r.open(OpenOptions{})
	one[DirGet](t, r.acts)
	second := r.open(OpenOptions{})
	require.Empty(t, r.acts, "single-flight")
	r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
	acts := r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	require.Len(t, each[DirAnswer](acts), 2)
	require.NotEqual(t, first, second)
	r.open(OpenOptions{})
	require.Len(t, r.acts, 1, "known: answered at once, nothing is read")
	third := r.open(OpenOptions{NoCache: true})
	one[DirGet](t, r.acts)
	r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
	r.answer(third, errcode.OK)
}

func TestNoCacheReadsAtEveryOpen(t *testing.T) {
	r := newDirRig(t, func(c *DirectoryConfig) { c.NoCache = true })
	r.lead()
	_, ok := r.d.OpenFresh(r.now, "kv")
	require.False(t, ok)
	r.open(OpenOptions{})
	one[DirGet](t, r.acts)
}

func TestAdoptedOrderNeverDecreases(t *testing.T) {
	for name, c := range map[string]struct {
		next    *descriptor.Head
		adopted bool
		bind    bool
	}{
		"a newer version":                      {head(nodeA, 5, 11), true, false},
		"the same":                             {head(nodeA, 5, 10), false, false},
		"an older version":                     {head(nodeA, 5, 9), false, false},
		"a newer epoch":                        {head(nodeA, 6, 10), true, false},
		"a newer epoch of another":             {head(nodeB, 6, 3), false, true},
		"an older epoch of another":            {head(nodeB, 4, 30), false, false},
		"the same epoch of another":            {head(nodeB, 5, 30), false, false},
		"an older epoch with a newer version":  {head(nodeA, 4, 30), false, false},
		"another store, another instance":      {inStore(storeTwo, head(nodeB, 1, 1)), false, true},
		"another store, same instance, newer":  {inStore(storeTwo, head(nodeA, 1, 11)), true, false},
		"another store, same instance, before": {inStore(storeTwo, head(nodeA, 9, 9)), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newDirRig(t)
			r.lead()
			r.watch(6, holding(6, head(nodeA, 5, 10)))
			acts := r.got(r.d.Changed(r.now, holding(7, c.next)))
			require.Equal(t, c.adopted, len(each[DirAdopted](acts)) == 1)
			require.Equal(t, c.bind, len(each[DirBind](acts)) == 1, "another instance only by a handshake")
			r.leads(nodeA)
			if c.bind {
				acts = r.got(r.d.Bound(r.now, "kv", nodeB, errcode.OK, ""))
				require.Equal(t, nodeA, one[DirAdopted](t, acts).From)
				r.leads(nodeB)
			}
		})
	}
}

func inStore(id string, h *descriptor.Head) *descriptor.Head {
	h.StoreID = id
	return h
}

func TestInvalidNeverReplacesValid(t *testing.T) {
	bad := map[string]StoreRecord{
		"unreadable":   {HeadBad: true, Owner: nodeA},
		"other name":   {Head: func() *descriptor.Head { h := head(nodeA, 5, 11); h.Name = "other"; return h }()},
		"no version":   {Head: head(nodeA, 5, 0)},
		"mad version":  {Head: head(nodeA, 5, descriptor.MaxVersion)},
		"bad address":  {Head: func() *descriptor.Head { h := head(nodeA, 5, 11); h.Addresses = []string{"x"}; return h }()},
		"no instance":  {Head: head(types.InstanceID{}, 5, 11)},
		"bad store ID": {Head: inStore("x", head(nodeA, 5, 11))},
	}
	for name, rec := range bad {
		t.Run(name, func(t *testing.T) {
			rec.Name, rec.StoreID, rec.Revision = "kv", storeOne, 7
			r := newDirRig(t)
			r.lead()
			ticket, acts := r.d.Refresh(r.now, "kv")
			one[DirGet](t, r.got(acts))
			r.got(r.d.Got(r.now, "kv", rec))
			r.answer(ticket, errcode.MetadataInvalid)
			require.Empty(t, each[DirBind](r.acts))
			r.leads(nodeA)
			require.EqualValues(t, 10, r.d.Head("kv").Version)
		})
	}
}

func TestKindsOfAbsence(t *testing.T) {
	r := newDirRig(t)
	never := r.open(OpenOptions{})
	r.got(r.d.Got(r.now, "kv", storeRecord(3)))
	r.answer(never, errcode.SegmentNotFound)
	again := r.open(OpenOptions{})
	r.answer(again, errcode.SegmentNotFound)
	require.Len(t, r.acts, 1, "believed for a second")
	r.now += types.Second
	later := r.open(OpenOptions{})
	one[DirGet](t, r.acts)
	r.got(r.d.GetFailed(r.now, "kv", errcode.MetadataRefused, "wrong password"))
	r.answer(later, errcode.MetadataRefused)

	r = newDirRig(t)
	r.lead()
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	one[DirGone](t, r.got(r.d.Changed(r.now, storeRecord(8))))
	gone := r.open(OpenOptions{})
	r.answer(gone, errcode.SegmentGone)
	ticket, acts := r.d.Refresh(r.now, "kv")
	one[DirGet](t, r.got(acts))
	r.leads(nodeA) // sessions go on
	r.got(r.d.Got(r.now, "kv", storeRecord(8)))
	r.answer(ticket, errcode.SegmentGone)
	require.Empty(t, each[DirGone](r.acts), "said once")
}

// A watch that polls says the same again and again. That must not put off the get that somebody waits for.
func TestRepeatedEventsPutOffNoGet(t *testing.T) {
	for _, rec := range []StoreRecord{{Name: "kv", HeadBad: true}, {Name: "kv"}, {Name: "kv", Owner: nodeB}} {
		r := newDirRig(t, func(c *DirectoryConfig) { c.Epochs = false })
		r.open(OpenOptions{})
		r.got(r.d.Got(r.now, "kv", StoreRecord{Name: "kv"}))
		ticket, acts := r.d.Refresh(r.now, "kv")
		gets := len(each[DirGet](r.got(acts)))
		for range 20 {
			r.got(r.d.Changed(r.now, rec))
			gets += len(each[DirGet](r.soon(100 * ms)))
		}
		require.Equal(t, 1, gets)
		r.got(r.d.Got(r.now, "kv", StoreRecord{Name: "kv"}))
		require.Equal(t, ticket, one[DirAnswer](t, r.acts).Ticket)
	}
}

func TestUnreachableInstance(t *testing.T) {
	r := newDirRig(t)
	hasty := r.open(OpenOptions{})
	patient := r.open(OpenOptions{Patient: true})
	one[DirBind](t, r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10)))))
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.PeerUnreachable, "refused"))
	r.answer(hasty, errcode.PeerUnreachable)
	one[DirGet](t, r.acts) // perhaps another one has the name by now
	r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
	require.Empty(t, each[DirBind](r.acts), "not in the same slot")
	one[DirBind](t, r.pass(100*ms))
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	r.answer(patient, errcode.OK)
}

func TestPatientOpenWaitsForTheName(t *testing.T) {
	r := newDirRig(t)
	ticket := r.open(OpenOptions{Patient: true})
	r.got(r.d.GetFailed(r.now, "kv", errcode.MetadataUnavailable, ""))
	require.Empty(t, r.acts)
	one[DirGet](t, r.pass(100*ms))
	r.got(r.d.Got(r.now, "kv", storeRecord(3)))
	require.Empty(t, each[DirAnswer](r.acts))
	require.Len(t, each[DirGet](r.pass(types.Second)), 1, "asked again about once a second")
	r.got(r.d.Got(r.now, "kv", storeRecord(3)))
	r.watch(3)
	one[DirBind](t, r.got(r.d.Changed(r.now, holding(4, head(nodeA, 4, 1))))) // the watch is quicker
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	r.answer(ticket, errcode.OK)

	r = newDirRig(t)
	ticket = r.open(OpenOptions{Patient: true})
	r.got(r.d.Got(r.now, "kv", storeRecord(3)))
	r.got(r.d.Abandon(r.now, "kv", ticket))
	require.Empty(t, r.pass(10*types.Second), "nobody waits any more")
}

func TestProofsOfFreshness(t *testing.T) {
	for name, prove := range map[string]func(r *dirRig){
		"get": func(r *dirRig) {
			_, acts := r.d.Refresh(r.now, "kv")
			r.got(acts)
			r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
		},
		"event":     func(r *dirRig) { r.watch(6, holding(6, head(nodeA, 5, 10))) },
		"progress":  func(r *dirRig) { r.got(r.d.Progress(r.now, 9)) },
		"heartbeat": func(r *dirRig) { r.got(r.d.Heartbeat(r.now, nodeA, storeOne, 5)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newDirRig(t)
			r.lead()
			r.watch(6, holding(6, head(nodeA, 5, 10)))
			r.now += 999 * ms
			_, ok := r.d.Fresh(r.now, "kv")
			require.True(t, ok)
			r.now += 2 * ms
			_, ok = r.d.Fresh(r.now, "kv")
			require.False(t, ok)
			prove(r)
			id, ok := r.d.Fresh(r.now, "kv")
			require.True(t, ok)
			require.Equal(t, nodeA, id)
		})
	}
	t.Run("no proof", func(t *testing.T) {
		r := newDirRig(t)
		r.lead()
		r.watch(6, holding(6, head(nodeA, 5, 10)))
		r.got(r.d.WatchDown(r.now))
		r.now += 1001 * ms
		r.got(r.d.Progress(r.now, 9))
		r.got(r.d.Heartbeat(r.now, nodeA, "", 0))
		_, ok := r.d.Fresh(r.now, "kv")
		require.False(t, ok, "of a watch that ended, of an owner that owns nothing")
	})
}

func TestSoftTTLRefreshesInTheBackground(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	require.Empty(t, r.pass(types.Second), "nobody uses it")
	r.leads(nodeA)
	one[DirGet](t, r.acts)
	r.leads(nodeA)
	require.Empty(t, r.acts, "one at a time, the old one served meanwhile")
	r.got(r.d.GetFailed(r.now, "kv", errcode.MetadataUnavailable, ""))
	_, ok := r.d.Fresh(r.now, "kv")
	require.False(t, ok, "a failure proves nothing")
	var gets int
	for range 100 {
		r.leads(nodeA)
		gets += len(each[DirGet](r.acts))
		gets += len(each[DirGet](r.pass(ms)))
	}
	require.LessOrEqual(t, gets, 1, "the back-off moves, the age does not")
	r.open(OpenOptions{})
	require.Equal(t, errcode.OK, one[DirAnswer](t, r.acts).Code, "opens are served as well")
}

func TestHardTTLEndsNewOperations(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	start := r.now
	r.now = start + 30*types.Second - 1
	r.leads(nodeA)
	r.now++
	_, code, acts := r.d.Lookup(r.now, "kv")
	require.Equal(t, errcode.MetadataUnavailable, code)
	r.got(acts)
	r.got(r.d.Heartbeat(r.now, nodeA, "", 0)) // the store is away and its lease over, but the session lives
	r.leads(nodeA)

	r = newDirRig(t, func(c *DirectoryConfig) { c.SoftTTL = 0 })
	r.lead()
	r.now += 3600 * types.Second
	r.leads(nodeA)
	_, ok := r.d.Fresh(r.now, "kv")
	require.True(t, ok, "0 never expires")
}

func TestStaleRefreshesAtOnceAndThenBacksOff(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	var at []types.Time
	for begin := r.now; r.now < begin+20*types.Second; r.now += 10 * ms {
		acts := append(r.got(r.d.Stale(r.now, "kv", "STALE_INSTANCE")), r.got(r.d.Tick(r.now))...)
		for range each[DirGet](acts) {
			at = append(at, r.now-begin)
			r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
		}
	}
	require.Zero(t, at[0], "at once")
	require.Less(t, len(at), 14, "20 s at 100 ms, 200 ms ... 5 s")
	require.Greater(t, len(at), 6)
	require.Greater(t, at[len(at)-1]-at[len(at)-2], 2*types.Second)
}

func TestOnePeersTroubleRefreshesNoOther(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	_, acts := r.d.Open(r.now, "other", OpenOptions{})
	r.got(acts)
	h := head(nodeB, 7, 1)
	h.Name = "other"
	rec := holding(7, h)
	rec.Name = "other"
	r.got(r.d.Got(r.now, "other", rec))
	r.got(r.d.Bound(r.now, "other", nodeB, errcode.OK, ""))
	require.Equal(t, "kv", one[DirGet](t, r.got(r.d.StaleInstance(r.now, nodeA, "access error"))).Name)
}

func TestReplacedNameBindsAgain(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	acquired := storeRecord(8) // the new owner has not published yet
	acquired.Owner, acquired.OwnerStoreID, acquired.Epoch = nodeB, storeOne, 8
	require.Empty(t, r.got(r.d.Changed(r.now, acquired)))
	_, ok := r.d.Fresh(r.now, "kv")
	require.False(t, ok)
	r.leads(nodeA)
	require.Equal(t, nodeB, one[DirBind](t, r.got(r.d.Changed(r.now, holding(9, head(nodeB, 8, 1))))).Head.Instance)
	r.leads(nodeA)
	r.got(r.d.Changed(r.now, holding(10, head(nodeC, 10, 1)))) // replaced again, while the first is being reached
	require.Empty(t, each[DirBind](r.acts), "one at a time")
	acts := r.got(r.d.Bound(r.now, "kv", nodeB, errcode.OK, ""))
	require.Empty(t, each[DirAdopted](acts), "it is over already")
	require.Equal(t, nodeC, one[DirBind](t, acts).Head.Instance)
	r.got(r.d.Bound(r.now, "kv", nodeC, errcode.OK, ""))
	r.leads(nodeC)
	require.EqualValues(t, 1, r.d.Stats().Replaced)
}

func TestGivenUpInstanceIsBoundAgain(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	acts := r.got(r.d.Unbound(r.now, nodeA, "its session died"))
	one[DirGet](t, acts)
	one[DirBind](t, acts)
	_, code, _ := r.d.Lookup(r.now, "kv")
	require.Equal(t, errcode.PeerUnreachable, code)
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	r.leads(nodeA)
}

func TestDelayedEventsAreIgnored(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	r.got(r.d.Changed(r.now, holding(9, head(nodeA, 5, 12))))
	require.Empty(t, r.got(r.d.Changed(r.now, storeRecord(8))), "it was gone before that")
	require.Empty(t, r.got(r.d.Changed(r.now, holding(7, head(nodeB, 7, 1)))))
	r.leads(nodeA)
	require.EqualValues(t, 2, r.d.Stats().OlderIgnored)
}

func TestForcedRefreshBeginsNow(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.now += 2 * types.Second
	r.leads(nodeA)
	one[DirGet](t, r.acts) // in the background, before the refresh
	ticket, acts := r.d.Refresh(r.now, "kv")
	require.Empty(t, r.got(acts))
	r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10))))
	require.Empty(t, each[DirAnswer](r.acts), "that was asked before")
	one[DirGet](t, r.acts)
	r.got(r.d.GetFailed(r.now, "kv", errcode.MetadataUnavailable, ""))
	r.answer(ticket, errcode.MetadataUnavailable)
	r.leads(nodeA)
}

func TestSyncReportsEachName(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	tickets, acts := r.d.Sync(r.now)
	require.Len(t, tickets, 1)
	one[DirGet](t, r.got(acts))
	r.got(r.d.Got(r.now, "kv", storeRecord(8)))
	r.answer(tickets[0].Ticket, errcode.SegmentGone)
}

func TestLegacyHeads(t *testing.T) {
	r := newDirRig(t, func(c *DirectoryConfig) { c.Epochs = false })
	legacy := func(version types.Version, addr string) StoreRecord {
		return StoreRecord{Name: "kv", Legacy: true, Head: &descriptor.Head{Name: "kv", Version: version, Addresses: []string{addr}}}
	}
	r.open(OpenOptions{})
	require.True(t, one[DirBind](t, r.got(r.d.Got(r.now, "kv", legacy(1, "10.0.0.1:12345")))).Head.Instance.IsZero())
	r.got(r.d.Bound(r.now, "kv", types.InstanceID{}, errcode.OK, ""))
	r.leads(types.InstanceID{})
	refresh := func(rec StoreRecord) []Action {
		_, acts := r.d.Refresh(r.now, "kv")
		r.got(acts)
		return r.got(r.d.Got(r.now, "kv", rec))
	}
	require.Empty(t, each[DirBind](refresh(legacy(1, "10.0.0.1:12345"))))
	one[DirBind](t, refresh(legacy(1, "10.0.0.2:12345"))) // no order: whoever is there now
	r.got(r.d.Bound(r.now, "kv", types.InstanceID{}, errcode.OK, ""))
	ours := StoreRecord{Name: "kv", Legacy: true, Head: inStore("", head(nodeA, 0, 7))} // our superset on a stock server
	one[DirBind](t, refresh(ours))
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	r.leads(nodeA)
	ours.Head = inStore("", head(nodeA, 0, 6))
	refresh(ours)
	require.EqualValues(t, 7, r.d.Head("kv").Version)
}
