package coherence

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const (
	storeOne = "0123456789abcdef0123456789abcdef"
	storeTwo = "fedcba9876543210fedcba9876543210"
	ms       = types.Millisecond
)

var (
	pubSelf  = types.InstanceID{0x5e}
	pubOther = types.InstanceID{0x07}
)

// pubRig feeds a Publisher, by the name of its answers, and looks for contradictions inside it.
type pubRig struct {
	*testing.T
	p    *Publisher
	now  types.Time
	acts []Action
}

func newPubRig(t *testing.T, change ...func(*PublisherConfig)) *pubRig {
	cfg := PublisherConfig{
		Instance: pubSelf, Name: "kv", Random: rand.New(rand.NewPCG(1, 2)).Uint64,
		Caps: StoreCaps{Epochs: true, CompareAndSet: true, Leases: true},
	}
	for _, c := range change {
		c(&cfg)
	}
	return &pubRig{T: t, p: NewPublisher(cfg), now: 1000 * types.Second}
}

// got checks the machine after an event and keeps what it asked for.
func (r *pubRig) got(acts []Action) []Action {
	r.Helper()
	require.NoError(r, r.p.CheckInvariants())
	r.acts = acts
	return acts
}

// pass lets time pass, up to the machine's own timers on the way.
func (r *pubRig) pass(d types.Time) []Action {
	r.Helper()
	var all []Action
	for end := r.now + d; r.now < end; {
		next := end
		if at, ok := r.p.NextWake(); ok {
			next = min(end, max(at, r.now+1))
		}
		r.now = next
		all = append(all, r.got(r.p.Tick(r.now))...)
	}
	r.acts = all
	return all
}

// soon is what the last event asked for, and what follows within d.
func (r *pubRig) soon(d types.Time) []Action {
	r.Helper()
	first := r.acts
	return append(first[:len(first):len(first)], r.pass(d)...)
}

func storeRecord(revision uint64) StoreRecord {
	return StoreRecord{Name: "kv", StoreID: storeOne, Revision: revision}
}

// owned is a record with an owner and, if version is not 0, its head.
func owned(revision uint64, who types.InstanceID, epoch uint64, version types.Version) StoreRecord {
	rec := storeRecord(revision)
	rec.Owner, rec.OwnerStoreID, rec.Epoch = who, storeOne, epoch
	if version > 0 {
		rec.Head = &descriptor.Head{Name: "kv", Instance: who, Epoch: epoch, StoreID: storeOne, Version: version}
		rec.HeadRevision = revision
	}
	return rec
}

// own brings the machine to owning the name under epoch 5, with version 10 stored at revision 6.
func (r *pubRig) own() {
	r.Helper()
	r.got(r.p.Changed(r.now, 10))
	one[StoreReadBack](r, r.got(r.p.Want(r.now, false)))
	require.Nil(r, one[StoreAcquire](r, r.got(r.p.ReadBack(r.now, storeRecord(4)))).Takeover)
	require.Equal(r, StorePublish{Version: 10, Epoch: 5, StoreID: storeOne, Last: 0},
		one[StorePublish](r, r.got(r.p.Acquired(r.now, storeOne, 5))))
	require.Empty(r, r.got(r.p.Published(r.now, 6)))
	require.Equal(r, Owning, r.p.Stats().State)
	r.now += 100 * ms
}

func (r *pubRig) state(want OwnershipState) OwnershipChanged {
	r.Helper()
	require.Equal(r, want, r.p.Stats().State)
	changes := each[OwnershipChanged](r.acts)
	require.NotEmpty(r, changes)
	require.Equal(r, want, changes[len(changes)-1].State)
	return changes[len(changes)-1]
}

func TestPublisherAcquiresThenPublishes(t *testing.T) {
	r := newPubRig(t)
	r.own()
	require.Equal(t, types.Version(10), r.p.Stats().Stored)
	require.Empty(t, r.got(r.p.Changed(r.now, 10)), "nothing changed")
	require.Equal(t, StorePublish{Version: 11, Epoch: 5, StoreID: storeOne, Last: 6}, one[StorePublish](t, r.got(r.p.Changed(r.now, 11))))
	require.Empty(t, each[StorePublish](r.got(r.p.Changed(r.now, 12))), "one publish at a time")
	require.Empty(t, each[StorePublish](r.got(r.p.Published(r.now, 7))), "at most 20 a second")
	require.Equal(t, StorePublish{Version: 12, Epoch: 5, StoreID: storeOne, Last: 7}, one[StorePublish](t, r.pass(50*ms)))
}

func TestPublishesAreCoalesced(t *testing.T) {
	r := newPubRig(t)
	r.own()
	version, revision, published := types.Version(10), uint64(6), 0
	for range 10_000 {
		r.now += ms
		version++
		acts := append(r.got(r.p.Changed(r.now, version)), r.got(r.p.Tick(r.now))...)
		for _, a := range each[StoreRenew](acts) {
			r.got(r.p.Renewed(r.now, a.SentAt, owned(revision, pubSelf, 5, r.p.Stats().Stored)))
		}
		for _, a := range each[StorePublish](acts) {
			require.Equal(t, version, a.Version, "the present state, not one on the way to it")
			require.Equal(t, revision, a.Last)
			published++
			revision++
			r.got(r.p.Published(r.now, revision))
		}
	}
	require.InDelta(t, 200, published, 2, "in 10 s")
}

func TestOwnedNameIsWaitedFor(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Changed(r.now, 10))
	r.got(r.p.Want(r.now, false))
	r.got(r.p.ReadBack(r.now, owned(4, pubOther, 3, 20)))
	c := r.state(Waiting)
	require.Equal(t, pubOther, c.Holder)
	require.Equal(t, errcode.SegmentOwned, c.Code)
	one[StoreReadBack](t, r.pass(types.Second))
	r.got(r.p.ReadBack(r.now, owned(4, pubOther, 3, 20)))
	require.Empty(t, r.got(r.p.RecordSeen(r.now, owned(4, pubOther, 3, 20))), "nothing new")
	r.got(r.p.RecordSeen(r.now, storeRecord(9)))
	one[StoreReadBack](t, r.soon(100*ms))
	require.Nil(t, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, storeRecord(9)))).Takeover)
	r.got(r.p.Acquired(r.now, storeOne, 10))
	require.Equal(t, types.Version(20), one[RaiseVersion](t, r.acts).Above, "readers that go by versions alone must see ours as newer")
	require.Equal(t, types.Version(21), one[StorePublish](t, r.got(r.p.Changed(r.now, 21))).Version)
}

func TestTakeoverIsAskedForOnce(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Changed(r.now, 30))
	r.got(r.p.Want(r.now, true))
	r.got(r.p.ReadBack(r.now, owned(4, pubOther, 3, 20)))
	require.EqualValues(t, 3, one[StoreAcquire](t, r.acts).Takeover.Epoch)
	newer := owned(9, pubOther, 8, 22)
	require.Empty(t, each[StoreAcquire](r.got(r.p.AcquireFailed(r.now, &newer, errcode.SegmentOwned, false))), "not in the same slot")
	one[StoreReadBack](t, r.pass(200*ms))
	newest := owned(11, pubOther, 8, 23)
	require.EqualValues(t, 11, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, newest))).Takeover.HeadRevision, "over the record that is there now")
	one[StorePublish](t, r.got(r.p.Acquired(r.now, storeOne, 10)))

	r.got(r.p.PublishLost(r.now, owned(12, pubOther, 12, 0)))
	c := r.state(FencedOut)
	require.Equal(t, pubOther, c.Holder)
	require.Equal(t, errcode.Fenced, c.Code)
	require.Empty(t, r.pass(types.Second*60), "who was fenced does nothing until the name is wanted again")
	one[StoreReadBack](t, r.got(r.p.Want(r.now, false)))
	r.got(r.p.ReadBack(r.now, owned(12, pubOther, 12, 0)))
	r.state(Waiting)
}

func TestLateHeadOfOursIsNoFence(t *testing.T) {
	r := newPubRig(t)
	r.own()
	r.got(r.p.Changed(r.now, 11))
	r.got(r.p.PublishFailed(r.now, errcode.MetadataUnavailable, true))
	require.Empty(t, each[StorePublish](r.got(r.p.Changed(r.now, 12))), "read back first")
	one[StoreReadBack](t, r.pass(200*ms))
	r.got(r.p.ReadBack(r.now, owned(6, pubSelf, 5, 10)))
	require.Equal(t, StorePublish{Version: 12, Epoch: 5, StoreID: storeOne, Last: 6}, one[StorePublish](t, r.acts))
	late := owned(7, pubSelf, 5, 11) // the one whose outcome was unknown lands now
	r.got(r.p.PublishLost(r.now, late))
	require.Equal(t, Owning, r.p.Stats().State)
	again := one[StorePublish](t, r.soon(100*ms))
	require.Equal(t, StorePublish{Version: 12, Epoch: 5, StoreID: storeOne, Last: 7}, again)
	require.Empty(t, r.got(r.p.Published(r.now, 8)))
}

func TestUnknownOutcomeIsReadBack(t *testing.T) {
	for _, landed := range []bool{false, true} {
		r := newPubRig(t)
		r.own()
		r.got(r.p.Changed(r.now, 11))
		require.Empty(t, r.got(r.p.PublishFailed(r.now, errcode.MetadataUnavailable, true))[1:], "not in the same slot")
		acts := r.pass(100 * ms)
		one[StoreReadBack](t, acts)
		require.Empty(t, each[StorePublish](acts), "never retried blindly")
		if landed {
			require.Empty(t, each[StorePublish](r.got(r.p.ReadBack(r.now, owned(7, pubSelf, 5, 11)))))
			require.Equal(t, types.Version(11), r.p.Stats().Stored)
			require.Empty(t, each[StorePublish](r.pass(types.Second)))
			continue
		}
		// It may still land. What is published now carries another version, so that no version stands for two states.
		r.got(r.p.ReadBack(r.now, owned(6, pubSelf, 5, 10)))
		require.Equal(t, types.Version(11), one[RaiseVersion](t, r.acts).Above)
		require.Empty(t, each[StorePublish](r.acts))
		require.Equal(t, StorePublish{Version: 12, Epoch: 5, StoreID: storeOne, Last: 6}, one[StorePublish](t, r.got(r.p.Changed(r.now, 12))))
	}
}

func TestFailuresAreRetriedOncePerSlot(t *testing.T) {
	r := newPubRig(t)
	r.own()
	r.got(r.p.Changed(r.now, 11))
	var pauses []types.Time
	for range 6 {
		r.got(r.p.PublishFailed(r.now, errcode.MetadataUnavailable, false))
		failed := r.now
		for r.now < failed+2*types.Second && len(each[StorePublish](r.acts)) == 0 {
			r.got(r.p.Changed(r.now, 11)) // events do not shorten the pause
			r.pass(10 * ms)
		}
		require.Equal(t, types.Version(11), one[StorePublish](t, r.acts).Version, "it did not land, so the version is not used up")
		pauses = append(pauses, r.now-failed)
	}
	require.InDelta(t, 75, int(pauses[0]/ms), 36)
	require.InDelta(t, 600, int(pauses[5]/ms), 210, "doubling up to 800 ms, with jitter of half")
}

func TestRenewalCountsOnlyForTheOwner(t *testing.T) {
	for name, spoil := range map[string]func(*StoreRecord){
		"another instance":     func(r *StoreRecord) { r.Owner = pubOther },
		"another epoch":        func(r *StoreRecord) { r.Epoch++ },
		"another store ID":     func(r *StoreRecord) { r.StoreID = storeTwo },
		"owned under another":  func(r *StoreRecord) { r.OwnerStoreID = storeTwo },
		"nobody":               func(r *StoreRecord) { r.Owner, r.Epoch, r.OwnerStoreID = types.InstanceID{}, 0, "" },
		"what it was when won": func(*StoreRecord) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPubRig(t)
			r.own()
			renew := one[StoreRenew](t, r.pass(3*types.Second))
			require.EqualValues(t, 5, renew.Epoch)
			require.Equal(t, r.now-100*ms, renew.SentAt)
			rec := owned(6, pubSelf, 5, 10)
			spoil(&rec)
			before := r.p.Stats()
			r.now += 2 * types.Second
			r.got(r.p.Renewed(r.now, renew.SentAt, rec))
			if name == "what it was when won" {
				require.Equal(t, renew.SentAt+9*types.Second, r.p.Stats().Deadline, "counted from sending")
				require.EqualValues(t, 1, r.p.Stats().RenewalsCounted)
				return
			}
			require.NotEqual(t, Owning, r.p.Stats().State)
			require.Equal(t, before.RenewalsCounted, r.p.Stats().RenewalsCounted)
			require.Empty(t, each[StorePublish](r.got(r.p.Changed(r.now, 11))))
			_, _, ok := r.p.Owning(r.now)
			require.False(t, ok)
		})
	}
}

func TestStoppedOwnerPublishesNothing(t *testing.T) {
	r := newPubRig(t)
	r.own()
	acquired := r.now - 100*ms
	renew := one[StoreRenew](t, r.pass(3*types.Second))
	r.now = acquired + 9*types.Second // the machine slept; nothing else happened meanwhile
	_, _, ok := r.p.Owning(r.now)
	require.False(t, ok)
	acts := r.got(r.p.Changed(r.now, 11))
	require.Empty(t, each[StorePublish](acts))
	require.Equal(t, errcode.Fenced, r.state(FencedOut).Code)
	require.EqualValues(t, 1, r.p.Stats().Expired)
	one[StoreReadBack](t, acts)
	require.Empty(t, each[StorePublish](r.got(r.p.Renewed(r.now, renew.SentAt, owned(6, pubSelf, 5, 10)))), "too late")
	require.NotEqual(t, Owning, r.p.Stats().State)

	over := one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, owned(6, pubSelf, 5, 10)))).Takeover
	require.EqualValues(t, 5, over.Epoch, "what is left of ourselves is replaced")
	r.got(r.p.Acquired(r.now, storeOne, 7))
	require.Equal(t, StorePublish{Version: 11, Epoch: 7, StoreID: storeOne, Last: 0}, one[StorePublish](t, r.acts))
}

func TestNameLostWhileStoppedIsFenced(t *testing.T) {
	r := newPubRig(t)
	r.own()
	r.now += 20 * types.Second
	one[StoreReadBack](t, r.got(r.p.Tick(r.now)))
	r.got(r.p.ReadBack(r.now, owned(9, pubOther, 8, 20)))
	require.Equal(t, pubOther, r.state(FencedOut).Holder)
	require.Empty(t, r.pass(30*types.Second))
}

func TestRenewalsAreNotHeldUp(t *testing.T) {
	r := newPubRig(t)
	r.own()
	one[StorePublish](t, r.got(r.p.Changed(r.now, 11))) // and is not answered
	one[StoreRenew](t, r.pass(3*types.Second))
	require.Empty(t, each[StoreRenew](r.pass(3*types.Second)), "one at a time")
}

func TestEmptyStoreIsFilledAgain(t *testing.T) {
	r := newPubRig(t)
	r.own()
	began := r.now
	one[StoreReadBack](t, r.got(r.p.StoreSeen(r.now, "", 1)))
	r.now += 5 * ms
	empty := StoreRecord{Name: "kv", Revision: 1}
	r.got(r.p.ReadBack(r.now, empty))
	require.Equal(t, storeOne, one[StoreWentBack](t, r.acts).From)
	require.Equal(t, StoreRemake{Seen: ""}, one[StoreRemake](t, r.acts))
	one[StoreReadBack](t, r.got(r.p.Remade(r.now, storeTwo, errcode.OK)))
	empty.StoreID, empty.Revision = storeTwo, 2
	one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, empty)))
	r.got(r.p.Acquired(r.now, storeTwo, 3))
	require.Equal(t, types.Version(10), one[RaiseVersion](t, r.acts).Above)
	r.got(r.p.Changed(r.now, 11))
	require.Equal(t, StorePublish{Version: 11, Epoch: 3, StoreID: storeTwo}, one[StorePublish](t, r.soon(50*ms)))
	require.Less(t, r.now-began, types.Second)
}

func TestUnreachableStoreIsAskedWithinASecond(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Want(r.now, false))
	for range 20 {
		r.got(r.p.ReadBackFailed(r.now, errcode.MetadataUnavailable))
		asked := len(each[StoreReadBack](r.pass(DefaultStoreRetryMax)))
		require.Equal(t, 1, asked)
	}
	require.Equal(t, errcode.MetadataUnavailable, r.p.Stats().Code)
	r.got(r.p.ReadBackFailed(r.now, errcode.MetadataUnavailable))
	r.now += 110 * ms
	one[StoreReadBack](t, r.got(r.p.StoreSeen(r.now, storeOne, 1))) // it answered somebody: no need to wait
}

func TestStoreThatWentBackGetsANewID(t *testing.T) {
	r := newPubRig(t)
	r.own()
	renew := one[StoreRenew](t, r.pass(3*types.Second)) // sent when revision 6 was known
	r.got(r.p.Renewed(r.now, renew.SentAt, owned(5, pubSelf, 5, 0)))
	require.Equal(t, StoreRemake{Seen: storeOne}, one[StoreRemake](t, r.acts))
	require.NotEqual(t, Owning, r.p.Stats().State)
	one[StoreReadBack](t, r.got(r.p.Remade(r.now, storeTwo, errcode.OK)))
	rec := owned(6, pubSelf, 5, 0)
	rec.StoreID = storeTwo
	require.EqualValues(t, 5, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, rec))).Takeover.Epoch)
}

func TestOwnerFromBeforeUsIsReplaced(t *testing.T) {
	r := newPubRig(t)
	r.own()
	renew := one[StoreRenew](t, r.pass(3*types.Second))
	r.got(r.p.Renewed(r.now, renew.SentAt, owned(5, pubOther, 3, 8))) // as it was before us
	one[StoreRemake](t, r.acts)
	one[StoreReadBack](t, r.got(r.p.Remade(r.now, storeTwo, errcode.OK)))
	rec := owned(6, pubOther, 3, 8)
	rec.StoreID = storeTwo
	require.EqualValues(t, 3, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, rec))).Takeover.Epoch)
}

func TestOvertakenAnswerIsNoProof(t *testing.T) {
	r := newPubRig(t)
	r.own()
	renew := one[StoreRenew](t, r.pass(3*types.Second)) // reads at revision 6, and comes back last
	one[StorePublish](t, r.got(r.p.Changed(r.now, 11)))
	r.got(r.p.Published(r.now, 7))
	r.got(r.p.Renewed(r.now, renew.SentAt, owned(6, pubSelf, 5, 10)))
	require.Empty(t, each[StoreRemake](r.acts))
	require.Equal(t, types.Version(11), r.p.Stats().Stored, "what was published since is not forgotten")
	require.EqualValues(t, 1, r.p.Stats().RenewalsCounted)
}

func TestEpochGivenTwiceIsProof(t *testing.T) {
	r := newPubRig(t)
	r.own()
	renew := one[StoreRenew](t, r.pass(3*types.Second))
	r.got(r.p.Renewed(r.now, renew.SentAt, storeRecord(6))) // our lease ended
	one[StoreAcquire](t, r.acts)
	r.got(r.p.Acquired(r.now, storeOne, 5))
	require.Equal(t, StoreRemake{Seen: storeOne}, one[StoreRemake](t, r.acts))
	require.Empty(t, each[StorePublish](r.acts))
}

func TestVersionOfAMadClockIsNotFollowed(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Changed(r.now, 10))
	r.got(r.p.Want(r.now, true))
	r.got(r.p.ReadBack(r.now, owned(4, pubOther, 3, descriptor.MaxVersion-1)))
	r.got(r.p.Acquired(r.now, storeOne, 5))
	require.Empty(t, each[RaiseVersion](r.acts))
	require.Equal(t, types.Version(10), one[StorePublish](t, r.acts).Version)
}

func TestReleaseWaitsForWhatIsUnderWay(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Changed(r.now, 10))
	r.got(r.p.Want(r.now, false))
	one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, storeRecord(4))))
	require.Equal(t, Releasing, r.after(r.p.Release(r.now)))
	require.Equal(t, StoreRelease{Epoch: 5}, one[StoreRelease](t, r.got(r.p.Acquired(r.now, storeOne, 5))))
	require.Empty(t, each[StorePublish](r.acts))
	require.Equal(t, NotWanted, r.after(r.p.Released(r.now, errcode.OK)))
	_, wakes := r.p.NextWake()
	require.False(t, wakes)

	r = newPubRig(t)
	r.own()
	one[StoreRelease](t, r.got(r.p.Release(r.now)))
	require.Equal(t, NotWanted, r.after(r.p.Released(r.now, errcode.MetadataUnavailable)), "the lease does the rest")
}

func (r *pubRig) after(acts []Action) OwnershipState {
	r.Helper()
	r.got(acts)
	return r.p.Stats().State
}

func TestWhatTheStoreRefusesIsNotRepeated(t *testing.T) {
	r := newPubRig(t)
	r.own()
	r.got(r.p.Changed(r.now, 11))
	r.got(r.p.PublishFailed(r.now, errcode.InvalidArgument, false)) // too large
	require.Equal(t, errcode.InvalidArgument, r.p.Stats().Code)
	require.Empty(t, each[StorePublish](r.pass(2*types.Second)))
	require.Equal(t, types.Version(12), one[StorePublish](t, r.got(r.p.Changed(r.now, 12))).Version)
}

func TestHeadThatAnotherHandChangedIsRestored(t *testing.T) {
	r := newPubRig(t)
	r.own()
	bad := owned(7, pubSelf, 5, 0)
	bad.HeadBad, bad.HeadRevision = true, 7
	one[StoreReadBack](t, r.got(r.p.RecordSeen(r.now, bad)))
	r.got(r.p.ReadBack(r.now, bad))
	require.Equal(t, types.Version(10), one[RaiseVersion](t, r.acts).Above)
	require.EqualValues(t, 7, one[StorePublish](t, r.got(r.p.Changed(r.now, 11))).Last)
	require.Empty(t, r.got(r.p.RecordSeen(r.now, owned(6, pubSelf, 5, 10))), "an old event means nothing")
}

func TestStoreWithoutEpochsGetsTheLesserProtocol(t *testing.T) {
	r := newPubRig(t, func(c *PublisherConfig) { c.Caps = StoreCaps{} })
	stock := func(who types.InstanceID, v types.Version) StoreRecord {
		return StoreRecord{Name: "kv", Legacy: true, Head: &descriptor.Head{Name: "kv", Instance: who, Version: v}}
	}
	r.got(r.p.Changed(r.now, 10))
	r.got(r.p.Want(r.now, false))
	// Nobody can say whether the one that wrote it lives: the last one to come has the name.
	require.NotNil(t, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, stock(pubOther, 8)))).Takeover)
	require.Equal(t, StorePublish{Version: 10}, one[StorePublish](t, r.got(r.p.Acquired(r.now, "", 0))))
	one[StoreReadBack](t, r.got(r.p.Published(r.now, 0)))
	require.Empty(t, r.got(r.p.ReadBack(r.now, stock(pubSelf, 10))))
	acts := r.pass(3 * types.Second)
	one[StoreReadBack](t, acts)
	require.Empty(t, each[StoreRenew](acts), "there is no lease; what is there is looked at instead")
	// The server was restarted. Nobody owns the name there, so that a publish would be lost for ever: it is acquired anew.
	require.Nil(t, one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, StoreRecord{Name: "kv"}))).Takeover)
	require.Equal(t, types.Version(10), one[RaiseVersion](t, r.got(r.p.Acquired(r.now, "", 0))).Above)
	one[StorePublish](t, r.got(r.p.Changed(r.now, 11)))
	one[StoreReadBack](t, r.got(r.p.Published(r.now, 0)))
	r.got(r.p.ReadBack(r.now, stock(pubOther, 12)))
	require.Equal(t, pubOther, r.state(FencedOut).Holder)
}

func TestStoreWithoutAnIDIsGivenOne(t *testing.T) {
	r := newPubRig(t)
	r.got(r.p.Changed(r.now, 10))
	r.got(r.p.Want(r.now, false))
	require.Equal(t, StoreRemake{Seen: ""}, one[StoreRemake](t, r.got(r.p.ReadBack(r.now, StoreRecord{Name: "kv", Revision: 1}))))
	one[StoreReadBack](t, r.got(r.p.Remade(r.now, storeOne, errcode.OK)))
	one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, storeRecord(2))))
	r.got(r.p.Acquired(r.now, "", 3)) // it was emptied in between
	require.Empty(t, each[StorePublish](r.acts))
	require.Equal(t, StoreRemake{Seen: ""}, one[StoreRemake](t, r.acts))
}

func TestRenewalThatGetsAnAnswerButNoLeaseIsLookedInto(t *testing.T) {
	r := newPubRig(t)
	r.own()
	renew := one[StoreRenew](t, r.pass(3*types.Second))
	require.Empty(t, r.got(r.p.RenewFailed(r.now, renew.SentAt, errcode.MetadataUnavailable)), "no answer: try again in a moment")
	renew = one[StoreRenew](t, r.pass(100*ms))
	one[StoreReadBack](t, r.got(r.p.RenewFailed(r.now, renew.SentAt, errcode.MetadataRefused)))
	r.got(r.p.ReadBack(r.now, storeRecord(9)))
	require.Equal(t, Acquiring, r.p.Stats().State)
	one[StoreAcquire](t, r.acts)
}

func TestOnePublishServesForWhatWasWrittenDown(t *testing.T) {
	r := newPubRig(t)
	r.own()
	one[StorePublish](t, r.got(r.p.Changed(r.now, 11)))
	r.p.Rendered(13) // the owner had gone on by the time its state was written down
	require.Empty(t, r.got(r.p.Published(r.now, 7)))
	require.Equal(t, types.Version(13), r.p.Stats().Stored)
	require.Empty(t, each[StorePublish](append(r.got(r.p.Changed(r.now, 13)), r.pass(types.Second)...)))
}
