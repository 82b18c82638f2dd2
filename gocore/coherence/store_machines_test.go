package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

var (
	drawnInstances = []types.InstanceID{{}, pubSelf, nodeA, nodeB}
	drawnStores    = []string{storeOne, storeTwo, ""}
	drawnCodes     = []errcode.Code{errcode.MetadataUnavailable, errcode.MetadataRefused, errcode.InvalidArgument}
)

// drawRecord is a record as no sane store would give them one after the other.
func drawRecord(t *rapid.T) StoreRecord {
	small := rapid.Uint64Range(0, 12)
	rec := StoreRecord{
		Name: "kv", StoreID: rapid.SampledFrom(drawnStores).Draw(t, "store"), Revision: small.Draw(t, "revision"),
		Owner: rapid.SampledFrom(drawnInstances).Draw(t, "owner"),
	}
	if !rec.Owner.IsZero() {
		rec.OwnerStoreID, rec.Epoch = rapid.SampledFrom(drawnStores).Draw(t, "of"), small.Draw(t, "epoch")
	}
	switch rapid.IntRange(0, 4).Draw(t, "head") {
	case 0:
		rec.HeadBad = true
	case 1, 2, 3:
		h := head(rapid.SampledFrom(drawnInstances).Draw(t, "by"), small.Draw(t, "under"), types.Version(small.Draw(t, "version")))
		h.StoreID = rapid.SampledFrom(drawnStores).Draw(t, "in")
		rec.Head, rec.HeadRevision = h, small.Draw(t, "at")
	}
	return rec
}

// TestPublisherSurvivesAnyAnswers: whatever a store answers, one request is under way at a time on each lane, no publish
// leaves after the deadline, no version is published twice unless the store said that it did not land, and nothing
// happens while the name is not wanted.
func TestPublisherSurvivesAnyAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := uint64(7)
		caps := StoreCaps{Epochs: true, CompareAndSet: true, Leases: true}
		if rapid.IntRange(0, 3).Draw(t, "stock") == 0 {
			caps = StoreCaps{}
		}
		p := NewPublisher(PublisherConfig{Instance: pubSelf, Name: "kv", Caps: caps,
			Random: func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 20 }})
		now, version := 1000*types.Second, types.Version(0)
		var request, renewal Action
		var last types.Version
		wanted := false
		var do func(acts []Action)
		do = func(acts []Action) {
			require.NoError(t, p.CheckInvariants())
			for _, a := range acts {
				switch a := a.(type) {
				case StoreRenew:
					require.Nil(t, renewal, "two renewals at a time")
					require.True(t, caps.Leases && wanted)
					renewal = a
				case RaiseVersion:
					version = max(version, a.Above) + 1
					do(p.Changed(now, version))
				case OwnershipChanged, StoreWentBack:
				default:
					require.Nil(t, request, "two requests at a time")
					request = a
				}
				if a, ok := a.(StorePublish); ok {
					_, _, owning := p.Owning(now)
					require.True(t, owning && wanted)
					require.Greater(t, a.Version, last)
					require.LessOrEqual(t, a.Version, version)
				}
			}
		}
		code := func() errcode.Code { return rapid.SampledFrom(drawnCodes).Draw(t, "code") }
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				version += types.Version(rapid.IntRange(1, 3).Draw(t, "more"))
				do(p.Changed(now, version))
			case 1:
				wanted = true
				do(p.Want(now, rapid.Bool().Draw(t, "takeover")))
			case 2:
				wanted = false
				do(p.Release(now))
			case 3:
				now += types.Time(rapid.Int64Range(1, int64(4*types.Second)).Draw(t, "time"))
				do(p.Tick(now))
			case 4:
				rec := drawRecord(t)
				do(p.RecordSeen(now, rec))
				do(p.StoreSeen(now, rec.StoreID, rec.Revision))
			case 5:
				if a, ok := renewal.(StoreRenew); ok {
					renewal = nil
					if rapid.Bool().Draw(t, "fails") {
						do(p.RenewFailed(now, a.SentAt, code()))
					} else {
						do(p.Renewed(now, a.SentAt, drawRecord(t)))
					}
				}
			default:
				a, unknown := request, rapid.Bool().Draw(t, "unknown")
				fails := rapid.IntRange(0, 3).Draw(t, "fails") == 0
				request = nil
				switch a := a.(type) {
				case StoreReadBack:
					if fails {
						do(p.ReadBackFailed(now, code()))
					} else {
						do(p.ReadBack(now, drawRecord(t)))
					}
				case StoreAcquire:
					if fails {
						do(p.AcquireFailed(now, nil, code(), unknown))
					} else {
						do(p.Acquired(now, rapid.SampledFrom(drawnStores).Draw(t, "store"), rapid.Uint64Range(1, 30).Draw(t, "epoch")))
					}
				case StorePublish:
					last = a.Version
					switch {
					case fails && !unknown:
						last = a.Version - 1
						do(p.PublishFailed(now, code(), false))
					case fails:
						do(p.PublishFailed(now, errcode.MetadataUnavailable, true))
					case unknown:
						last = a.Version - 1
						do(p.PublishLost(now, drawRecord(t)))
					default:
						do(p.Published(now, rapid.Uint64Range(1, 20).Draw(t, "revision")))
					}
				case StoreRelease:
					do(p.Released(now, errcode.OK))
				case StoreRemake:
					do(p.Remade(now, rapid.SampledFrom(drawnStores[:2]).Draw(t, "store"), errcode.OK))
				}
			}
		}
		if !wanted && request == nil {
			require.Equal(t, NotWanted, p.Stats().State)
		}
	})
}

// TestDirectorySurvivesAnyAnswers: whatever a store and its watch say, each name has one get and one bind under way at a
// time, another instance is followed only after it answered, the order per store never decreases, and every wait ends
// at most once.
func TestDirectorySurvivesAnyAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := uint64(9)
		d := NewDirectory(DirectoryConfig{SoftTTL: types.Second, Epochs: rapid.Bool().Draw(t, "epochs"),
			Random: func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 20 }})
		now, refs := 1000*types.Second, 0
		getting, remaking := false, false
		var binding *descriptor.Head
		var answered types.InstanceID // who has just answered
		var leads *types.InstanceID
		waits := map[uint64]bool{}
		best := map[string]orderMark{}
		do := func(acts []Action) {
			require.NoError(t, d.CheckInvariants())
			for _, a := range acts {
				switch a := a.(type) {
				case DirGet:
					require.False(t, getting, "two gets at a time")
					getting = true
				case DirBind:
					require.Nil(t, binding, "two binds at a time")
					require.NotNil(t, a.Head)
					binding = a.Head
				case StoreRemake:
					require.False(t, remaking)
					remaking = true
				case DirAdopted:
					if leads == nil || *leads != a.Instance {
						require.Equal(t, answered, a.Instance, "followed before it answered")
					}
					leads = &a.Instance
					h := d.Head("kv")
					if h.StoreID != "" && !h.Instance.IsZero() {
						b := best[h.StoreID]
						require.False(t, cmpOrder(h.Epoch, h.Version, b.epoch, b.version) < 0, "from %v back to %v", b, h)
						best[h.StoreID] = orderMark{epoch: h.Epoch, version: h.Version}
					}
				case DirAnswer:
					require.True(t, waits[a.Ticket], "an answer that nobody waits for")
					delete(waits, a.Ticket)
					if a.Code == errcode.OK {
						require.NotNil(t, leads)
					}
				case DirGone, StoreWentBack:
				default:
					t.Fatalf("unexpected action %T", a)
				}
			}
			answered = types.InstanceID{0xff}
		}
		hold := func(ticket uint64, acts []Action) {
			waits[ticket] = true
			do(acts)
		}
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "event") {
			case 0, 1:
				refs++
				hold(d.Open(now, "kv", OpenOptions{NoCache: rapid.Bool().Draw(t, "no cache"), Patient: rapid.Bool().Draw(t, "patient")}))
			case 2:
				if refs > 0 {
					if refs--; refs == 0 {
						clear(waits)
						clear(best)
						leads = nil
					}
					do(d.Close(now, "kv"))
				}
			case 3:
				if refs > 0 {
					hold(d.Refresh(now, "kv"))
				}
			case 4:
				now += types.Time(rapid.Int64Range(1, int64(2*types.Second)).Draw(t, "time"))
				do(d.Tick(now))
			case 5, 6:
				if !getting {
					break
				}
				getting = false
				if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
					do(d.GetFailed(now, "kv", rapid.SampledFrom(drawnCodes).Draw(t, "code"), ""))
				} else {
					do(d.Got(now, "kv", drawRecord(t)))
				}
			case 7, 8:
				if h := binding; h != nil {
					binding = nil
					code := errcode.OK
					if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
						code = errcode.PeerUnreachable
					} else {
						answered = h.Instance
					}
					do(d.Bound(now, "kv", h.Instance, code, ""))
				}
			case 9:
				rec := drawRecord(t)
				do(d.Listing(now, rec.StoreID, rec.Revision, []StoreRecord{rec}[:rapid.IntRange(0, 1).Draw(t, "listed")]))
			case 10:
				do(d.Changed(now, drawRecord(t)))
			case 11:
				if remaking {
					remaking = false
					do(d.Remade(now, rapid.SampledFrom(drawnStores).Draw(t, "store"), errcode.OK))
				}
			case 12:
				i := rapid.SampledFrom(drawnInstances).Draw(t, "instance")
				do(d.Heartbeat(now, i, rapid.SampledFrom(drawnStores).Draw(t, "store"), rapid.Uint64Range(0, 12).Draw(t, "epoch")))
				_, _, acts := d.Lookup(now, "kv")
				do(acts)
				if rapid.Bool().Draw(t, "dies") {
					if leads != nil && *leads == i {
						leads = nil
					}
					do(d.Unbound(now, i, "died"))
				}
			}
		}
	})
}
