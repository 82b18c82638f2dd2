package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestSameEpochTwiceMakesANewStoreID(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	r.got(r.d.Changed(r.now, holding(7, head(nodeB, 5, 30))))
	require.Equal(t, StoreRemake{Seen: storeOne}, one[StoreRemake](t, r.acts))
	require.EqualValues(t, 1, r.d.Stats().Clashes)
	r.got(r.d.Remade(r.now, storeTwo, errcode.OK))
	one[DirGet](t, r.soon(types.Second/4))
	rec := holding(9, inStore(storeTwo, head(nodeB, 8, 31)))
	rec.StoreID = storeTwo
	one[DirBind](t, r.got(r.d.Got(r.now, "kv", rec)))
}

func TestAnotherStoreIsNoticed(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.got(r.d.Listing(r.now, storeTwo, 2, nil))
	require.Equal(t, StoreWentBack{From: storeOne, To: storeTwo, Revision: 2}, one[StoreWentBack](t, r.acts))
	require.Empty(t, each[StoreRemake](r.acts), "it is one that nobody has seen before")
	r.leads(nodeA)
	one[DirGet](t, r.soon(types.Second/4))

	ticket, acts := r.d.Refresh(r.now, "kv")
	require.Empty(t, r.got(acts))
	old := holding(6, head(nodeA, 5, 10)) // and now it comes back as it was
	r.got(r.d.Got(r.now, "kv", old))
	require.Equal(t, StoreRemake{Seen: storeOne}, one[StoreRemake](t, r.acts))
	r.got(r.d.Remade(r.now, "", errcode.MetadataUnavailable))
	require.Empty(t, each[StoreRemake](r.acts), "not in the same slot")
	one[StoreRemake](t, r.pass(200*ms))
	_ = ticket
}

func TestRevisionThatWentBackIsNoticed(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	_, acts := r.d.Refresh(r.now, "kv")
	r.got(acts)
	r.got(r.d.Got(r.now, "kv", holding(5, head(nodeA, 5, 8))))
	one[StoreRemake](t, r.acts)
	r.leads(nodeA)
	require.EqualValues(t, 10, r.d.Head("kv").Version)
}

// A name leads nowhere any more, and all that the store has is a head from before the one that was adopted. Whoever waits
// was never answered.
func TestOlderHeadOfAGivenUpInstance(t *testing.T) {
	r := newDirRig(t, func(c *DirectoryConfig) { c.Epochs = false })
	r.open(OpenOptions{})
	r.got(r.d.Got(r.now, "kv", StoreRecord{Name: "kv", Legacy: true, Head: inStore("", head(nodeA, 0, 10))}))
	r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	r.got(r.d.Changed(r.now, StoreRecord{Name: "kv"}))
	one[DirGet](t, r.got(r.d.Unbound(r.now, nodeA, "died")))
	old := StoreRecord{Name: "kv", Legacy: true, Head: inStore("", head(nodeA, 0, 7))}
	r.got(r.d.Got(r.now, "kv", old))
	hasty := r.open(OpenOptions{})
	patient := r.open(OpenOptions{Patient: true})
	gets := 0
	for range 200 {
		if gets += len(each[DirGet](r.soon(10 * ms))); len(each[DirGet](r.acts)) > 0 {
			r.got(r.d.Got(r.now, "kv", old))
			for _, a := range each[DirAnswer](r.acts) {
				require.Equal(t, hasty, a.Ticket)
				require.Equal(t, errcode.MetadataUnavailable, a.Code)
				hasty = 0
			}
		}
	}
	require.Zero(t, hasty)
	require.Positive(t, gets)
	require.Less(t, gets, 10, "not more and more often")
	one[DirBind](t, r.got(r.d.Changed(r.now, StoreRecord{Name: "kv", Legacy: true, Head: inStore("", head(nodeB, 0, 1))})))
	r.got(r.d.Bound(r.now, "kv", nodeB, errcode.OK, ""))
	r.answer(patient, errcode.OK)
}

func TestAnswerOfAStoreThatIsOver(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	ticket, acts := r.d.Refresh(r.now, "kv")
	one[DirGet](t, r.got(acts)) // reads storeOne, and is held up
	r.got(r.d.Listing(r.now, storeTwo, 2, nil))
	r.got(r.d.Got(r.now, "kv", storeRecord(9)))
	require.Empty(t, each[DirGone](r.acts))
	require.Empty(t, each[DirAnswer](r.acts))
	acts = r.soon(types.Second / 4)
	one[DirGet](t, acts)
	rec := holding(3, inStore(storeTwo, head(nodeA, 3, 11)))
	rec.StoreID = storeTwo
	r.got(r.d.Got(r.now, "kv", rec))
	r.answer(ticket, errcode.OK)
}

func TestListingWithoutTheNameIsLookedInto(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	r.got(r.d.Listing(r.now, storeOne, 9, nil))
	require.Empty(t, each[DirGone](r.acts))
	one[DirGet](t, r.soon(types.Second/4))
	one[DirGone](t, r.got(r.d.Got(r.now, "kv", storeRecord(9))))
}

func TestOrderOfEarlierStoresIsRemembered(t *testing.T) {
	r := newDirRig(t)
	r.lead() // storeOne, epoch 5
	r.watch(6, holding(6, head(nodeA, 5, 10)))
	r.got(r.d.Changed(r.now, holding(7, inStore(storeTwo, head(nodeB, 2, 1)))))
	r.got(r.d.Bound(r.now, "kv", nodeB, errcode.OK, ""))
	r.leads(nodeB)
	require.Empty(t, r.got(r.d.Changed(r.now, holding(8, head(nodeC, 4, 99)))), "an older epoch of a store that was left")
	r.leads(nodeB)
	one[DirBind](t, r.got(r.d.Changed(r.now, holding(9, head(nodeC, 6, 1)))))
}

func TestHeartbeatOfANewEpochIsLookedInto(t *testing.T) {
	r := newDirRig(t)
	r.lead()
	one[DirGet](t, r.got(r.d.Heartbeat(r.now, nodeA, storeOne, 9)))
	require.Empty(t, r.got(r.d.Heartbeat(r.now, nodeB, storeOne, 9)), "nobody's")
}
