package coherence

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

var (
	nodeA = types.InstanceID{0xa1}
	nodeB = types.InstanceID{0xb2}
	nodeC = types.InstanceID{0xc3}
)

// dirRig feeds a Directory and looks for contradictions inside it.
type dirRig struct {
	testing.TB
	d    *Directory
	now  types.Time
	acts []Action
}

func newDirRig(t testing.TB, change ...func(*DirectoryConfig)) *dirRig {
	cfg := DirectoryConfig{Random: rand.New(rand.NewPCG(3, 4)).Uint64, SoftTTL: types.Second, Epochs: true}
	for _, c := range change {
		c(&cfg)
	}
	return &dirRig{TB: t, d: NewDirectory(cfg), now: 1000 * types.Second}
}

func (r *dirRig) got(acts []Action) []Action {
	r.Helper()
	require.NoError(r, r.d.CheckInvariants())
	r.acts = acts
	return acts
}

func (r *dirRig) pass(d types.Time) []Action {
	r.Helper()
	var all []Action
	for end := r.now + d; r.now < end; {
		next := end
		if at, ok := r.d.NextWake(); ok {
			next = min(end, max(at, r.now+1))
		}
		r.now = next
		all = append(all, r.got(r.d.Tick(r.now))...)
	}
	r.acts = all
	return all
}

// soon is what the last event asked for, and what follows within d.
func (r *dirRig) soon(d types.Time) []Action {
	r.Helper()
	first := r.acts
	return append(first[:len(first):len(first)], r.pass(d)...)
}

func (r *dirRig) open(opts OpenOptions) uint64 {
	r.Helper()
	ticket, acts := r.d.Open(r.now, "kv", opts)
	r.got(acts)
	return ticket
}

// head is one of segment "kv" in storeOne.
func head(who types.InstanceID, epoch uint64, version types.Version) *descriptor.Head {
	return &descriptor.Head{Name: "kv", Instance: who, Epoch: epoch, StoreID: storeOne, Version: version,
		Addresses: []string{"10.0.0.1:17001"}, Data: []string{"10.0.0.1:17002"}}
}

// holding is a record with this head at a revision of storeOne.
func holding(revision uint64, h *descriptor.Head) StoreRecord {
	rec := storeRecord(revision)
	rec.Head, rec.HeadRevision = h, revision
	if h != nil {
		rec.Owner, rec.OwnerStoreID, rec.Epoch = h.Instance, h.StoreID, h.Epoch
	}
	return rec
}

// lead opens the name and makes it lead to nodeA, epoch 5, version 10, read at revision 6.
func (r *dirRig) lead() {
	r.Helper()
	ticket := r.open(OpenOptions{})
	one[DirGet](r, r.acts)
	one[DirBind](r, r.got(r.d.Got(r.now, "kv", holding(6, head(nodeA, 5, 10)))))
	acts := r.got(r.d.Bound(r.now, "kv", nodeA, errcode.OK, ""))
	require.Equal(r, nodeA, one[DirAdopted](r, acts).Instance)
	require.Equal(r, DirAnswer{Name: "kv", Ticket: ticket}, one[DirAnswer](r, acts))
	require.Less(r, order[DirAdopted](acts), order[DirAnswer](acts))
}

// watch starts the watch at a revision, with what lies in the store.
func (r *dirRig) watch(revision uint64, recs ...StoreRecord) []Action {
	r.Helper()
	return r.got(r.d.Listing(r.now, storeOne, revision, recs))
}

func (r *dirRig) leads(to types.InstanceID) {
	r.Helper()
	id, code, acts := r.d.Lookup(r.now, "kv")
	r.got(acts)
	require.Equal(r, errcode.OK, code)
	require.Equal(r, to, id)
}

func (r *dirRig) answer(ticket uint64, want errcode.Code) {
	r.Helper()
	a := one[DirAnswer](r, r.acts)
	require.Equal(r, ticket, a.Ticket)
	require.Equal(r, want, a.Code, "%s", a.Detail)
}
