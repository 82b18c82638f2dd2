package coherence

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// transferModel plays path, target and owner for one Transfer and checks after each event what must hold, by bytes: a
// byte is named by its local address, and local ranges of requests are disjoint.
type transferModel struct {
	t        *rapid.T
	op       types.Op
	tr       *Transfer
	reqs     []Request
	now      types.Time
	path     types.PathID
	dead     map[types.PathID]bool // a post on it was lost
	killed   map[types.PathID]errcode.Code
	retired  map[types.PathID]bool
	posted   []*sent
	landing  []*sent // WRITEs that may still land
	ids      map[uint64]bool
	done     map[uint64]int  // local byte -> times completed
	applied  map[uint64]bool // local byte -> may have reached the target
	entered  map[types.BufferID]uint64
	quiet    map[types.BufferID]uint64
	finished int
	lastID   uint64
}

type sent struct {
	p      *Post
	id     uint64
	path   types.PathID
	slices []Slice
}

func drawRequests(t *rapid.T) []Request {
	n := rapid.IntRange(1, 14).Draw(t, "requests")
	reqs := make([]Request, n)
	local := uint64(0x1000)
	for i := range reqs {
		length := rapid.Uint64Range(1, 250).Draw(t, "len")
		id := types.BufferID(rapid.IntRange(1, 3).Draw(t, "id"))
		off := uint64(rapid.IntRange(0, 5).Draw(t, "off")) * 1000
		if i > 0 && rapid.Bool().Draw(t, "adjacent") {
			prev := reqs[i-1]
			id, off = prev.Remote, prev.Off+prev.Len
		} else {
			local += 10
		}
		reqs[i] = Request{Local: local, Remote: id, Off: off, Len: length}
		local += length
	}
	return reqs
}

func newTransferModel(t *rapid.T) *transferModel {
	m := &transferModel{
		t: t, now: 1000, path: 1,
		dead: map[types.PathID]bool{}, killed: map[types.PathID]errcode.Code{}, retired: map[types.PathID]bool{},
		ids: map[uint64]bool{}, done: map[uint64]int{}, applied: map[uint64]bool{},
		entered: map[types.BufferID]uint64{}, quiet: map[types.BufferID]uint64{},
	}
	m.op = rapid.SampledFrom([]types.Op{types.Read, types.Write}).Draw(t, "op")
	m.reqs = drawRequests(t)
	for _, r := range m.reqs {
		m.entered[r.Remote]++
	}
	cfg := TransferConfig{
		Op: m.op, MaxPostBytes: 100, MaxPostEntries: 4, Retries: 2,
		Stall: 500 * types.Millisecond, AbortGrace: 10 * types.Millisecond, RetireGrace: 20 * types.Millisecond,
		NextID: func() uint64 { m.lastID++; return m.lastID },
	}
	if rapid.Bool().Draw(t, "deadline") {
		cfg.Deadline = 300 * types.Millisecond
	}
	m.tr = NewTransfer(m.now, cfg, m.reqs)
	return m
}

func (m *transferModel) post() {
	p := m.tr.NextPost(m.now)
	if p == nil {
		return
	}
	require.NotZero(m.t, p.ID)
	require.NotEmpty(m.t, p.Slices)
	sum := uint64(0)
	for _, s := range p.Slices {
		sum += s.Len
		for _, l := range m.landing {
			for _, old := range l.slices {
				require.False(m.t, s.Local < old.Local+old.Len && old.Local < s.Local+s.Len,
					"a WRITE is posted again while it may still land by path %d", l.path)
			}
		}
	}
	require.Equal(m.t, sum, p.Bytes)
	require.LessOrEqual(m.t, len(p.Slices), 4)
	require.LessOrEqual(m.t, p.Bytes, uint64(100))
	if rapid.IntRange(0, 9).Draw(m.t, "requeue") == 0 {
		m.tr.Requeue(p)
		return
	}
	require.False(m.t, m.ids[p.ID], "post ID %d is used twice", p.ID)
	m.ids[p.ID] = true
	if m.dead[m.path] || rapid.IntRange(0, 3).Draw(m.t, "new path") == 0 {
		m.path++
	}
	m.posted = append(m.posted, &sent{p: p, id: p.ID, path: m.path, slices: slices.Clone(p.Slices)})
	m.tr.Posted(m.now, p, m.path)
}

func (m *transferModel) mark(s Slice, n uint64, completed bool) {
	for b := s.Local; b < s.Local+n; b++ {
		m.applied[b] = true
		if completed {
			m.done[b]++
		}
	}
}

// result ends one posted post. lost: by the death of its path.
func (m *transferModel) result(i int, kind string, code errcode.Code) {
	s := m.posted[i]
	m.posted = slices.Delete(m.posted, i, i+1)
	require.Equal(m.t, s.id, s.p.ID, "a post was changed while its path had it")
	require.Equal(m.t, s.slices, s.p.Slices, "a post was changed while its path had it")
	var r Result
	switch kind {
	case "ok":
		r = Result{Code: errcode.OK, Sent: true, Answered: true}
		for k, sl := range s.slices {
			if rapid.IntRange(0, 7).Draw(m.t, "slice fails") > 0 {
				m.mark(sl, sl.Len, true)
				continue
			}
			f := SliceResult{Index: uint32(k), Code: rapid.SampledFrom([]errcode.Code{
				errcode.DrainingCode, errcode.OutOfBounds, errcode.Checksum, errcode.ResourceExhausted, errcode.Canceled,
			}).Draw(m.t, "slice code")}
			if f.Code != errcode.OutOfBounds {
				f.Applied = rapid.Uint64Range(0, sl.Len-1).Draw(m.t, "applied")
				m.mark(sl, f.Applied, false)
			}
			r.Failed = append(r.Failed, f)
		}
	case "refused":
		r = Result{Code: code, Sent: true, Answered: true, Detail: "refused"}
		if rapid.Bool().Draw(m.t, "some applied") {
			sl := s.slices[0]
			r.Applied = rapid.Uint64Range(1, sl.Len).Draw(m.t, "applied")
			m.mark(sl, r.Applied, false)
		}
	case "unsent":
		r = Result{Code: code, Detail: "not sent"}
	case "lost":
		r = Result{Code: code, Sent: true, Detail: "path lost"}
		m.dead[s.path] = true
		for _, sl := range s.slices {
			m.mark(sl, rapid.Uint64Range(0, sl.Len).Draw(m.t, "landed"), false)
		}
		if m.op == types.Write && !m.retired[s.path] {
			m.landing = append(m.landing, s)
		}
	}
	m.do(m.tr.Result(m.now, s.p, r))
}

func (m *transferModel) do(acts []Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case Finished:
			m.finished++
		case KillPath:
			m.killed[a.Path] = a.Cause
		case AbortPost:
			require.True(m.t, slices.ContainsFunc(m.posted, func(s *sent) bool { return s.p == a.Post }))
		default:
			m.t.Fatalf("unexpected action %T", a)
		}
	}
	for _, q := range m.tr.TakeQuiet() {
		m.quiet[q.ID] += q.N
	}
	m.check()
}

func (m *transferModel) retire(path types.PathID) {
	m.dead[path], m.retired[path] = true, true
	m.landing = slices.DeleteFunc(m.landing, func(s *sent) bool { return s.path == path })
	m.do(m.tr.PathsRetired(m.now, []types.PathID{path}))
}

func (m *transferModel) check() {
	require.NoError(m.t, m.tr.CheckInvariants())
	require.LessOrEqual(m.t, m.finished, 1)
	require.Equal(m.t, m.finished == 1, m.tr.Final())
	if m.tr.Final() {
		require.Empty(m.t, m.posted, "final before local quiet")
		require.Equal(m.t, len(m.landing) == 0, m.tr.RemoteQuiet())
	}
	loud := map[types.BufferID]map[uint32]bool{}
	for _, s := range slices.Concat(m.posted, m.landing) {
		for _, sl := range s.slices {
			for k := range max(sl.Count, 1) {
				if loud[sl.Remote] == nil {
					loud[sl.Remote] = map[uint32]bool{}
				}
				loud[sl.Remote][sl.Req+k] = true
			}
		}
	}
	for id, n := range m.quiet {
		require.LessOrEqual(m.t, n+uint64(len(loud[id])), m.entered[id], "ID %d counted as quiet too early", id)
	}
}

func (m *transferModel) verify() {
	require.Equal(m.t, 1, m.finished)
	require.True(m.t, m.tr.Settled())
	require.Equal(m.t, m.entered, m.quiet)
	var count [types.Unknown + 1]int
	var doneBytes uint64
	for i, r := range m.reqs {
		outcome, code := m.tr.RequestOutcome(i)
		count[outcome]++
		all, any := true, false
		for b := r.Local; b < r.Local+r.Len; b++ {
			require.LessOrEqual(m.t, m.done[b], 1)
			doneBytes += uint64(m.done[b])
			all = all && m.done[b] == 1
			any = any || m.applied[b]
		}
		switch outcome {
		case types.Completed:
			require.True(m.t, all, "request %d is COMPLETED with bytes missing", i)
			require.Equal(m.t, errcode.OK, code)
		case types.NotApplied:
			require.NotEqual(m.t, errcode.OK, code)
			if m.op == types.Write {
				require.False(m.t, any, "request %d is NOT_APPLIED but bytes of it may have landed", i)
			}
		case types.Unknown:
			require.NotEqual(m.t, errcode.OK, code)
			require.Equal(m.t, types.Write, m.op, "a READ is never UNKNOWN")
		default:
			m.t.Fatalf("request %d has no outcome", i)
		}
		require.False(m.t, all && outcome != types.Completed, "request %d completed but is %s", i, outcome)
	}
	require.Equal(m.t, doneBytes, m.tr.BytesDone())
	outcome, code := m.tr.Outcome()
	switch n := len(m.reqs); {
	case count[types.Completed] == n:
		require.Equal(m.t, types.Completed, outcome)
		require.Equal(m.t, errcode.OK, code)
	case count[types.NotApplied] == n:
		require.Equal(m.t, types.NotApplied, outcome)
		require.NotEqual(m.t, errcode.OK, code)
	case count[types.Completed] > 0:
		require.Equal(m.t, types.Partial, outcome)
	default:
		require.Equal(m.t, types.Unknown, outcome)
	}
}

var (
	refusals = []errcode.Code{
		errcode.DrainingCode, errcode.Revoked, errcode.ResourceExhausted, errcode.Checksum, errcode.MemoryFault, errcode.Canceled,
	}
	losses = []errcode.Code{errcode.PeerUnreachable, errcode.RailDown, errcode.Canceled, errcode.MemoryFault}
)

// TestTransferModel throws every event at a batch in any order, then lets the world come to rest, and checks outcomes and
// both kinds of quiet by bytes.
func TestTransferModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newTransferModel(t)
		stops := rapid.Bool().Draw(t, "with stops")
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch k := rapid.IntRange(0, 19).Draw(t, "event"); {
			case k < 8:
				m.post()
			case k < 13:
				if n := len(m.posted); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "which")
					kind := rapid.SampledFrom([]string{"ok", "ok", "ok", "refused", "unsent", "lost"}).Draw(t, "kind")
					code := rapid.SampledFrom(losses).Draw(t, "loss")
					if kind == "refused" {
						code = rapid.SampledFrom(refusals).Draw(t, "refusal")
					}
					if c, ok := m.killed[m.posted[i].path]; ok {
						kind, code = "lost", c
					}
					m.result(i, kind, code)
				}
			case k < 14:
				if len(m.landing) > 0 {
					m.retire(rapid.SampledFrom(m.landing).Draw(t, "retired").path)
				}
			case k < 15:
				if rapid.IntRange(0, 4).Draw(t, "early") == 0 && len(m.posted) > 0 {
					m.retire(m.posted[0].path)
				}
			case k < 18:
				m.now += types.Time(rapid.IntRange(0, 40).Draw(t, "ms")) * types.Millisecond
				m.do(m.tr.Tick(m.now))
			case !stops:
			case k < 19:
				id := types.BufferID(rapid.IntRange(1, 4).Draw(t, "blocked"))
				if rapid.Bool().Draw(t, "cut") {
					m.do(m.tr.Cut(m.now, []types.BufferID{id, 9}, errcode.DrainingCode))
				} else {
					m.do(m.tr.Blocked(m.now, id, errcode.Revoked))
				}
			default:
				switch rapid.IntRange(0, 3).Draw(t, "stop") {
				case 0:
					m.do(m.tr.Cancel(m.now, errcode.Canceled))
				case 1:
					m.landing = nil
					for _, s := range m.posted {
						m.dead[s.path], m.retired[s.path] = true, true
					}
					m.do(m.tr.PeerReplaced(m.now))
				}
			}
		}
		// Rest: everything is answered, lost or retired, and time goes on.
		for round := 0; !m.tr.Settled(); round++ {
			require.Less(t, round, 2000, "the batch does not end")
			for m.tr.HasQueued() && !m.tr.Final() {
				before := len(m.posted)
				if m.post(); len(m.posted) == before {
					break
				}
			}
			for len(m.posted) > 0 {
				if code, ok := m.killed[m.posted[0].path]; ok || m.dead[m.posted[0].path] {
					if !ok {
						code = errcode.PeerUnreachable
					}
					m.result(0, "lost", code)
				} else {
					m.result(0, "ok", errcode.OK)
				}
			}
			if rapid.Bool().Draw(t, "retire now") {
				for len(m.landing) > 0 {
					m.retire(m.landing[0].path)
				}
			}
			if at, ok := m.tr.NextWake(); ok {
				m.now = max(m.now, at)
			}
			m.do(m.tr.Tick(m.now))
		}
		m.verify()
	})
}
