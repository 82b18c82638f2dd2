package conformance

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// modelName is what the model knows of one name.
type modelName struct {
	owner store.Ownership // zero Instance: nobody
	head  string
	rev   uint64
}

// testRandom drives two clients through random steps, right and wrong ones, and compares every answer with a model that
// has the whole of the contract in thirty lines.
func testRandom(f *fixture) {
	if !f.caps.CompareAndSet {
		return // what such a store answers is the last writer's: testPublish and testTakeoverStale hold it to that
	}
	seed := rand.Uint64()
	f.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	clients := []store.Store{f.s, f.open()}
	instances := []types.InstanceID{types.NewInstanceID(), types.NewInstanceID()}
	model := map[string]*modelName{"x": {}, "y": {}}
	var former []store.Ownership // including present ones
	var epoch uint64
	for step := range 300 {
		s, name := clients[rng.IntN(2)], []string{"x", "y"}[rng.IntN(2)]
		m := model[name]
		about := fmt.Sprintf("step %d, %s", step, name)
		switch rng.IntN(6) {
		case 0, 1: // claim, half of the time by takeover
			request := store.AcquireRequest{Name: name, Instance: instances[rng.IntN(2)], TTL: time.Minute}
			seen := f.get(s, name)
			stale := false
			if rng.IntN(2) == 0 {
				request.Takeover = &seen
				if stale = rng.IntN(3) == 0; stale {
					seen.HeadRevision++
				}
			}
			o, err := s.Acquire(f.ctx(), request)
			if free := m.owner.Instance.IsZero(); !free && (request.Takeover == nil || stale) {
				require.ErrorAs(f, err, new(*store.OwnedError), about)
				break
			}
			require.NoError(f, err, about)
			require.Greater(f, o.Epoch, epoch, about)
			epoch = o.Epoch
			*m = modelName{owner: o}
			former = append(former, o)
		case 2, 3: // publish, as anybody who ever owned it, over the right revision or a wrong one
			if len(former) == 0 {
				break
			}
			o := former[len(former)-1-rng.IntN(min(3, len(former)))]
			m = model[o.Name]
			last := m.rev
			if rng.IntN(4) == 0 {
				last += 1 + rng.Uint64N(3)
			}
			head := fmt.Sprintf("step %d", step)
			result, err := s.Publish(f.ctx(), o, store.PublishRequest{Head: []byte(head), Last: last})
			require.NoError(f, err, about)
			require.Equal(f, o == m.owner && last == m.rev, result.Lost == nil, about)
			if result.Lost == nil {
				require.Greater(f, result.Revision, max(m.rev, m.owner.Epoch), about)
				m.head, m.rev = head, result.Revision
			} else {
				f.same(m, result.Lost, about)
			}
		case 4: // renew or release, as anybody who ever owned it
			if len(former) == 0 {
				break
			}
			o := former[len(former)-1-rng.IntN(min(3, len(former)))]
			m = model[o.Name]
			if rng.IntN(2) == 0 {
				r, err := s.Renew(f.ctx(), o)
				require.NoError(f, err, about)
				require.Equal(f, o == m.owner, o.Holds(&r), about)
				break
			}
			require.NoError(f, s.Release(f.ctx(), o), about)
			if o == m.owner {
				*m = modelName{}
			}
		}
		r := f.get(clients[rng.IntN(2)], name)
		f.same(model[name], &r, about)
	}
}

func (f *fixture) same(m *modelName, r *store.Record, about string) {
	f.Helper()
	require.Equal(f, m.owner.Instance, r.Owner.Instance, about)
	require.Equal(f, m.owner.Epoch, r.Owner.Epoch, about)
	require.Equal(f, m.head, string(r.Head), about)
	require.Equal(f, m.rev, r.HeadRevision, about)
}
