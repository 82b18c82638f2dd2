package storesim

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// rig is a world without faults, in which a named scenario puts things into the order that it is about. All rules are
// checked after every event, as everywhere.
type rig struct {
	*world
	t *testing.T
}

// play runs a scenario with so many engines, host h wanting name h % names.
func play(t *testing.T, hosts, names int, do func(r *rig)) {
	t.Helper()
	require.NoError(t, plant(t, noMutant, hosts, names, do))
}

// plant plays a scenario with a mistake in it; the violation that ended it, if any, is returned.
func plant(t *testing.T, m mutant, hosts, names int, do func(r *rig)) error {
	t.Helper()
	w := newWorld(Config{Seed: 1, mutant: m})
	w.mix.softTTL = types.Second
	return w.protect(func() {
		w.populate(hosts, names)
		do(&rig{w, t})
	})
}

// run lets time pass.
func (r *rig) run(d types.Time) {
	for end := r.now + d; r.now < end; {
		r.event++
		r.next()
		r.advance()
		r.check()
	}
}

// follow has every engine open every name, and waits until all is well.
func (r *rig) follow() {
	r.t.Helper()
	for _, p := range r.hosts {
		for _, name := range r.names {
			if p.open[name] == 0 {
				p.openName(name, coherence.OpenOptions{Patient: true})
			}
		}
	}
	r.until("L7", 20*types.Second, r.settled)
}

// leads says where p's name leads.
func (r *rig) leads(p *proc, name string) types.InstanceID {
	r.t.Helper()
	id, code, acts := p.dir.Lookup(p.w.now, name)
	p.doDir(acts)
	require.Equal(r.t, errcode.OK, code)
	return id
}

func (r *rig) stop(p *proc, d types.Time) {
	p.paused, p.since = true, r.now
	r.run(d)
}

// Reliability row 7: an owner stops beyond its lease, another one gets the name, the first runs on.
func TestZombieOwnerPublishesNothing(t *testing.T) {
	play(t, 3, 1, func(r *rig) {
		r.follow()
		zombie := r.ownerOf("segment-0")
		zombie.change() // a publish is on its way when it stops
		r.stop(zombie, coherence.DefaultLeaseTTL+4*types.Second)
		next := r.ownerOf("segment-0")
		require.NotNil(t, next)
		require.NotSame(t, zombie, next)
		for _, p := range r.hosts {
			if p != zombie {
				require.Equal(t, next.inst, r.leads(p, "segment-0"))
			}
		}
		stored := r.stats.Happened[Landed]
		zombie.resume()
		for range 50 {
			zombie.change()
			r.run(100 * types.Millisecond)
		}
		require.Equal(t, stored, r.stats.Happened[Landed])
		require.Equal(t, coherence.FencedOut, zombie.pub.Stats().State)
		require.Equal(t, next.inst, zombie.pub.Stats().Holder)
	})
}

// A renewal that counts although the owner key is another's: after a takeover one's own lease still renews.
func TestBlindRenewalIsFound(t *testing.T) {
	lost := func(r *rig) {
		r.follow()
		r.run(4 * types.Second)
		old := r.ownerOf("segment-0")
		old.watch.stalled = r.now + 1000*types.Second // nobody tells it
		taker := r.hosts[1-old.host]
		r.takeOver(taker)
		r.run(12 * types.Second)
		old.change()
		r.run(types.Second)
	}
	play(t, 2, 1, lost)
	require.ErrorContains(t, plant(t, renewBlind, 2, 1, lost), "S6 (zombie) violated")
}

// Row 14: the lease of a living owner ends, and nobody else wants the name.
func TestLeaseThatEndsIsFollowedByANewEpoch(t *testing.T) {
	play(t, 2, 2, func(r *rig) {
		r.follow()
		p := r.ownerOf("segment-0")
		epoch, _, _ := p.pub.Owning(r.now)
		r.store.end(r.store.entries["segment-0"].lease)
		r.until("L2", types.Second, r.settled)
		again, _, ok := p.pub.Owning(r.now)
		require.True(t, ok)
		require.Greater(t, again, epoch)
	})
}

// A takeover with the old lease alive: the old owner is fenced, nothing of it stays in the store.
func TestTakeoverWithTheOldLeaseAlive(t *testing.T) {
	play(t, 3, 1, func(r *rig) {
		r.follow()
		old := r.ownerOf("segment-0")
		taker := r.hosts[(old.host+1)%3]
		r.takeOver(taker)
		require.Len(t, r.store.leases, 1)
		r.until("L2", types.Second, r.settled)
		require.Equal(t, coherence.FencedOut, old.pub.Stats().State)
	})
}

// Row 15: the store is wiped, or comes back as it was before the present owner came. Owners publish again by themselves
// within a second, and readers reach the present ones.
func TestStoreWipedOrRestored(t *testing.T) {
	for _, wiped := range []bool{true, false} {
		play(t, 3, 2, func(r *rig) {
			r.follow()
			old := r.ownerOf("segment-0")
			before := r.store.clone()
			r.kill(old)
			r.boot(old.host).want(true)
			r.follow()
			present := r.ownerOf("segment-0")
			require.NotSame(t, old, present)
			at := r.now
			if wiped {
				r.store.restore(content{revision: 1, entries: map[string]entry{}, leases: map[uint64]lease{}})
				r.until("L2", types.Second, r.settled)
			} else {
				r.store.restore(before) // with the dead owner's key, and its lease in full
				r.until("L2", types.Second, r.settled)
			}
			t.Logf("wiped %v: all is well again after %d ms", wiped, (r.now-at)/types.Millisecond)
			require.Same(t, present, r.ownerOf("segment-0"))
			require.NotZero(t, present.pub.Stats().StoreChanges)
			for _, p := range r.hosts {
				require.Equal(t, present.inst, r.leads(p, "segment-0"))
			}
			if !wiped {
				require.NotEqual(t, before.id, r.store.id, "its ID is re-made")
			}
		})
	}
}

// L4, row 9: the store is down for ten minutes, and no operation of a live session fails.
func TestStoreDownForTenMinutes(t *testing.T) {
	play(t, 3, 3, func(r *rig) {
		r.follow()
		r.store.downTill, r.store.silent = r.now+600*types.Second, true
		r.store.cutWatches()
		asked := r.stats.Asked
		for range 600 {
			for _, p := range r.hosts {
				for i, name := range r.names {
					require.Equal(t, r.hosts[i].inst, r.leads(p, name))
				}
			}
			r.run(types.Second)
		}
		for i, n := range r.stats.Asked {
			// 3 owners and 9 names, each attempt a timeout of 3 s apart and a pause, and renewals
			require.Less(t, n-asked[i], uint64(4*600), "%T", actions[i])
		}
		r.until("L2", 2*types.Second, r.settled)
	})
}

// Rows 11 to 13: the leader changes, the watch is compacted away or stands still on a minority member.
func TestWatchTroubleDelaysButLosesNothing(t *testing.T) {
	play(t, 3, 2, func(r *rig) {
		r.follow()
		owner, reader := r.ownerOf("segment-0"), r.hosts[2]
		reader.watch.cut() // compaction: changes meanwhile are never told
		owner.change()
		r.until("L2", types.Second, r.settled)

		reader.watch.stalled = r.now + 100*types.Second
		next := r.boot2(owner)
		r.until("L2", 5*types.Second, func() string {
			if r.leads(reader, "segment-0") != next.inst {
				return "the reader has not heard of the new owner" // it learns by heartbeats that stop and by the soft TTL
			}
			return ""
		})

		r.store.downTill = r.now + 2*types.Second
		for l, le := range r.store.leases { // a new leader extends every lease
			le.expires = r.store.downTill + le.ttl
			r.store.leases[l] = le
		}
		r.store.cutWatches()
		fenced := r.stats.Happened[LeaseEnded]
		r.run(4 * types.Second)
		require.Equal(t, fenced, r.stats.Happened[LeaseEnded])
		require.Same(t, next, r.ownerOf("segment-0"), "no false loss")
	})
}

func (r *rig) takeOver(p *proc) {
	p.want(true)
	r.until("L2", types.Second, func() string {
		if rec := r.store.entries[p.name]; rec.owner != p.inst {
			return "it has not the name yet"
		}
		return ""
	})
}

// boot2 replaces a process by one that takes its name over.
func (r *rig) boot2(old *proc) *proc {
	r.kill(old)
	p := r.boot(old.host)
	p.want(true)
	return p
}

// Row 16 and "version from a clock far ahead": the wall clock is a day ahead, then right again, then a day behind; the
// next owner's clock is right. Versions only grow, and so do those that the name shows.
func TestClockJumps(t *testing.T) {
	const day = 86_400_000_000
	play(t, 2, 1, func(r *rig) {
		r.follow()
		p := r.ownerOf("segment-0")
		for _, skew := range []int64{day, 0, -day} {
			p.skew = skew
			before := r.store.entries["segment-0"].head.Version
			p.change()
			r.until("L2", types.Second, r.settled)
			require.Greater(t, r.store.entries["segment-0"].head.Version, before)
		}
		ahead := p.version
		taker := r.hosts[1-p.host]
		r.takeOver(taker)
		r.until("L2", types.Second, r.settled)
		require.Same(t, taker, r.ownerOf("segment-0"))
		require.Greater(t, r.store.entries["segment-0"].head.Version, ahead, "who orders by versions alone sees the new owner as newer")
	})
}

// L2: an orderly restart, and L3: a crash.
func TestRestartIsFollowedWithinASecond(t *testing.T) {
	play(t, 3, 3, func(r *rig) {
		r.follow()
		old := r.ownerOf("segment-0")
		old.doPub(old.pub.Release(r.now))
		r.run(20 * types.Millisecond)
		r.kill(old)
		next := r.boot(old.host)
		at := r.now
		for _, name := range r.names {
			next.openName(name, coherence.OpenOptions{Patient: true})
		}
		r.until("L2", types.Second, r.settled)
		t.Logf("restart to adopted by all: %d ms", (r.now-at)/types.Millisecond)

		r.kill(next)
		died := r.now
		r.until("L3", coherence.DefaultLeaseTTL+3*types.Second, func() string {
			if len(r.store.entries) == 3 {
				return "its keys are still there"
			}
			return ""
		})
		require.Greater(t, r.now-died, types.Second)
	})
}

func TestSeedGivesTheSameRunAgain(t *testing.T) {
	hash := func(seed uint64) string {
		h := sha256.New()
		_, err := Run(Config{Seed: seed, Steps: 1500, Trace: func(line string) { _, _ = io.WriteString(h, line+"\n") }})
		require.NoError(t, err)
		return hex.EncodeToString(h.Sum(nil))
	}
	seen := map[string]bool{}
	for seed := uint64(1); seed <= 20; seed++ {
		first := hash(seed)
		require.Equal(t, first, hash(seed), "seed %d", seed)
		require.False(t, seen[first], "seed %d is like another", seed)
		seen[first] = true
	}
}
