package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/mem"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

// record is what can lie under a name that leads nowhere.
type record struct {
	put   func(t *testing.T, s store.Store, name string)
	never errcode.Code // of a name that led nowhere so far
	after errcode.Code // of one that did
	says  string
}

// takes makes an instance that does not exist the owner of a name, whoever has it.
func takes(t *testing.T, s store.Store, name string) store.Ownership {
	r, err := s.Get(t.Context(), name)
	require.NoError(t, err)
	req := store.AcquireRequest{Name: name, Instance: types.NewInstanceID(), TTL: time.Hour}
	if r.Owner.Owned() {
		req.Takeover = &r
	}
	own, err := s.Acquire(t.Context(), req)
	require.NoError(t, err)
	return own
}

func puts(head string) func(*testing.T, store.Store, string) {
	return func(t *testing.T, s store.Store, name string) {
		_, err := s.Publish(t.Context(), takes(t, s, name), store.PublishRequest{Head: []byte(head)})
		require.NoError(t, err)
	}
}

var records = map[string]record{
	"unknown": {func(t *testing.T, s store.Store, name string) {
		require.NoError(t, s.Release(t.Context(), takes(t, s, name)))
	}, errcode.SegmentNotFound, errcode.SegmentGone, "nobody"},
	"half removed": {func(t *testing.T, s store.Store, name string) { takes(t, s, name) },
		errcode.SegmentNotFound, errcode.SegmentNotFound, "not published"},
	"undecodable": {puts("\x00{"), errcode.MetadataInvalid, errcode.MetadataInvalid, "key"},
	"empty":       {puts("{}"), errcode.VersionSkew, errcode.VersionSkew, "format"},
	"of nobody": {puts(`{"format":1,"format_min":1,"name":"n"}`), errcode.MetadataInvalid, errcode.MetadataInvalid,
		"instance_id"},
}

func besides(t *testing.T) store.Store {
	s, err := open.Store(storeOf(t), open.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (r *rig) outcome(task *Task, err error) error {
	r.t.Helper()
	if err != nil {
		return err
	}
	require.True(r.t, task.Wait(patience))
	return task.Err()
}

const brief = 200 * time.Millisecond

// Every way to look a name up, of each kind of record that leads nowhere: an error that says which it is.
func TestLookUpsOfNamesThatLeadNowhere(t *testing.T) {
	for kind, rec := range records {
		t.Run(kind, func(t *testing.T) {
			reader, s := named(t, ""), besides(t)
			rec.put(t, s, "n")
			for way, look := range map[string]func() error{
				"open":      func() error { return reader.outcome(reader.Open("n", brief)) },
				"open anew": func() error { return reader.outcome(reader.OpenAnew("n", brief)) },
			} {
				err := look()
				requireCode(t, rec.never, err)
				require.ErrorContains(t, err, rec.says, way)
				require.ErrorContains(t, err, "mem://", way)
			}
			_, known := reader.OpenKnown("n")
			require.False(t, known)
			require.NoError(t, reader.outcome(reader.Sync(brief)), "no name is open")
			require.NoError(t, reader.outcome(reader.DescribeName("n", brief)), "it tells what there is")
			require.Empty(t, reader.meta.names, "nothing is left of it")
			require.Empty(t, reader.peers)
		})
	}
}

// A segment that is open while its record turns into each of these: its session goes on, and a look says what is wrong.
func TestLookUpsOfOpenNamesThatTurnBad(t *testing.T) {
	for kind, rec := range records {
		t.Run(kind, func(t *testing.T) {
			owner, reader, s := named(t, "n"), named(t, ""), besides(t)
			theirs, mine := owner.buffer(4096, types.RemoteAll), reader.buffer(4096, types.RemoteNone)
			seg := reader.open("n")
			reader.must(one(types.Read, seg, mine.id, theirs.id, 0, 0, 4096))
			owner.meta.store.(*mem.Store).Link().Cut() // it would put that right
			rec.put(t, s, "n")
			requireCode(t, rec.after, reader.outcome(reader.Refresh(seg, brief)))
			task, err := reader.Sync(patience)
			require.NoError(t, err)
			require.True(t, task.Wait(patience))
			report := task.result.(*SyncReport)
			require.Equal(t, 1, report.Names)
			require.Equal(t, 1, len(report.Gone)+len(report.Failed), "%+v", report)
			reader.must(one(types.Write, seg, mine.id, theirs.id, 0, 0, 4096))
			require.NoError(t, reader.outcome(reader.Ping(seg, patience)))
			_, err = reader.SegmentJSON(seg)
			require.NoError(t, err)
			_, err = owner.Register([]Registration{{Address: owner.alloc(64).addr, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead}})
			require.NoError(t, err, "whoever lost a name goes on with its own memory")
			require.NoError(t, owner.outcome(owner.Drain([]types.BufferID{theirs.id}, time.Second)))
			_, err = reader.Submit(one(types.Read, seg, mine.id, theirs.id, 0, 0, 4096))
			if err == nil {
				err = reader.finish(reader.submit(one(types.Read, seg, mine.id, theirs.id, 0, 0, 4096)))
			}
			require.Contains(t, []errcode.Code{errcode.StaleBuffer, errcode.DrainingCode}, errcode.Of(err), "%v", err)
			require.NoError(t, reader.CloseSegment(seg))
			require.Empty(t, reader.meta.names)
		})
	}
}

// Every way to name a segment or a buffer by a number: unknown, closed, and of an engine that is closed.
func TestLookUpsByNumber(t *testing.T) {
	owner, r := named(t, "n"), named(t, "")
	theirs, mine := owner.buffer(64, types.RemoteAll), r.buffer(64, types.RemoteNone)
	seg := r.open("n")
	closed := r.open("n")
	require.NoError(t, r.CloseSegment(closed))
	const unknown = 1 << 40
	ways := map[string]func(id types.SegmentID) error{
		"describe": func(id types.SegmentID) error { _, err := r.SegmentJSON(id); return err },
		"refresh":  func(id types.SegmentID) error { return r.outcome(r.Refresh(id, brief)) },
		"ping":     func(id types.SegmentID) error { return r.outcome(r.Ping(id, brief)) },
		"close":    r.CloseSegment,
		"submit": func(id types.SegmentID) error {
			_, err := r.Submit(one(types.Read, id, mine.id, theirs.id, 0, 0, 64))
			return err
		},
	}
	for way, look := range ways {
		requireCode(t, errcode.Closed, look(closed))
		err := look(unknown)
		requireCode(t, errcode.SegmentNotFound, err)
		require.ErrorContains(t, err, "1099511627776", way)
	}

	_, err := r.Submit(one(types.Read, seg, unknown, theirs.id, 0, 0, 64))
	requireCode(t, errcode.StaleBuffer, err)
	b, err := r.Submit(one(types.Read, seg, mine.id, unknown, 0, 0, 64))
	if err == nil {
		err = r.finish(b)
	}
	requireCode(t, errcode.StaleBuffer, err)
	_, err = owner.Grant(unknown, nil, types.PermRead, types.InstanceID{})
	require.Error(t, err)
	require.Error(t, owner.outcome(owner.Drain([]types.BufferID{unknown}, brief)))

	r.Destroy()
	delete(ways, "close")    // which takes a handle back in any case,
	delete(ways, "describe") // and this tells what was known last
	for way, look := range ways {
		require.Equal(t, errcode.Closed, errcode.Of(look(seg)), way)
		requireCode(t, errcode.Closed, look(unknown))
	}
	requireCode(t, errcode.Closed, r.outcome(r.Open("n", brief)))
	requireCode(t, errcode.Closed, r.outcome(r.Sync(brief)))
	requireCode(t, errcode.Closed, r.outcome(r.Claim(false, 0, brief)))
	requireCode(t, errcode.Closed, r.outcome(r.DescribeName("n", brief)))
	_, err = r.Register([]Registration{{Address: mine.addr, Length: 64, Remote: types.RemoteAll, Perm: types.PermRead}})
	requireCode(t, errcode.Closed, err)
}

// The engine's own name before it is claimed, and after it was lost, closed or never given.
func TestTheLocalSegmentIsNotThere(t *testing.T) {
	bare := newRig(t, func(c *config.Config) { c.Name, c.Metadata = "me", storeOf(t) })
	memory := bare.buffer(64, types.RemoteAll)
	requireCode(t, errcode.SegmentNotFound, bare.outcome(bare.Open("me", brief)))
	require.NoError(t, bare.outcome(bare.Drain([]types.BufferID{memory.id}, time.Second)), "a drain needs no store")
	again := bare.buffer(64, types.RemoteAll)
	require.NoError(t, bare.claim(false))
	seg := bare.open("me")
	mine := bare.buffer(64, types.RemoteNone)
	bare.must(one(types.Read, seg, mine.id, again.id, 0, 0, 64))

	s := besides(t)
	require.NoError(t, s.Release(t.Context(), takes(t, s, "me")))
	require.Eventually(t, func() bool {
		return bare.meta.announcer.Status().State != "OWNING" || bare.meta.announcer.Status().Counters.Expired+bare.meta.announcer.Status().Counters.Fenced > 0
	},
		patience, time.Millisecond, "it notices")
	bare.must(one(types.Read, seg, mine.id, again.id, 0, 0, 64))

	nameless := named(t, "")
	requireCode(t, errcode.InvalidArgument, nameless.outcome(nameless.Claim(false, 0, brief)))
	bare.Destroy()
	requireCode(t, errcode.Closed, bare.outcome(bare.Open("me", brief)))
	requireCode(t, errcode.SegmentNotFound, nameless.outcome(nameless.Open("me", brief)))
}

// A transfer that is dispatched again after its owner was replaced says so; it never reaches the new one.
func TestDispatchAfterReplacement(t *testing.T) {
	first, reader := named(t, "n"), named(t, "")
	old, mine := first.buffer(4096, types.RemoteAll), reader.buffer(4096, types.RemoteNone)
	seg := reader.open("n")
	reader.must(one(types.Write, seg, mine.id, old.id, 0, 0, 4096))
	s := one(types.Write, seg, mine.id, old.id, 0, 0, 4096)
	s.Expected = first.instance
	first.Destroy()
	second := named(t, "n")
	fresh := second.buffer(4096, types.RemoteAll)
	pattern(mine.bytes, 9)
	require.Equal(t, old.id, fresh.id, "numbers count per instance")
	require.Eventually(t, func() bool {
		_, p, err := reader.segment("look", seg)
		return err == nil && p.instance == second.instance
	}, patience, time.Millisecond)
	_, err := reader.Submit(s)
	requireCode(t, errcode.StaleInstance, err)
	require.Equal(t, make([]byte, 4096), fresh.bytes, "not a byte")
	reader.must(one(types.Write, seg, mine.id, fresh.id, 0, 0, 4096))
	require.Equal(t, mine.bytes, fresh.bytes)
}
