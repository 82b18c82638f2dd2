package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Wire is a path over something that misbehaves.
type Wire struct {
	Path  transport.Path // nil: it could not be made
	Err   error          // why
	Self  types.InstanceID
	Fired <-chan struct{} // closed once the fault has happened
}

// FaultFactory makes a path as Factory does, with the fault that a seed stands for.
type FaultFactory func(t *testing.T, target *Target, sink transport.Sink, seed uint64) Wire

// Faults is what RunFaults saw.
type Faults struct {
	Rounds, Fired, NotDialled    int
	Posts, Completed, Unanswered int
	Codes                        map[errcode.Code]int
}

// RunFaults checks that the meaning of a transport holds on a wire that breaks: each post is reported once, one that is
// reported complete has all its bytes at their place and one that is not has a typed reason, nothing around is touched,
// and the same work over a whole wire succeeds afterwards. silent says that the wire tells nobody, so that the path has to
// be closed from outside, as an engine does when a deadline has passed.
func RunFaults(t *testing.T, rounds int, silent bool, faulty FaultFactory, whole Factory) Faults {
	t.Helper()
	seen := Faults{Codes: map[errcode.Code]int{}}
	for seed := range uint64(rounds) {
		faultRound(t, seed, silent, faulty, whole, &seen)
	}
	return seen
}

const (
	guard     = 64        // bytes around each range that must stay
	rangeSize = 512 << 10 // most bytes of one post
	perRound  = 6
)

// work is one post and the two ranges that it is about.
type work struct {
	post     *transport.Post
	src, dst []byte // with their guards
	want     []byte
}

func faultRound(t *testing.T, seed uint64, silent bool, faulty FaultFactory, whole Factory, seen *Faults) {
	t.Helper()
	target, rec := NewTarget(), NewRecorder()
	g := target.Add(t, perRound*(rangeSize+2*guard), types.PermReadWrite, anybody())
	b := Block(t, perRound*(rangeSize+2*guard))
	rng := rand.New(rand.NewPCG(seed, 7))
	jobs := make([]*work, perRound)
	for i := range jobs {
		jobs[i] = newWork(rng, b.Bytes(), g, i)
	}
	wire := faulty(t, target, rec, seed)
	seen.Rounds++
	if wire.Path == nil {
		seen.NotDialled++
		_, typed := errors.AsType[*errcode.Error](wire.Err)
		require.True(t, typed, "seed %d: %v", seed, wire.Err)
	} else {
		over(t, seed, silent, wire, rec, jobs, seen)
	}
	target.KillAll()
	<-g.Fence() // nobody is left inside

	// The same work once more, over a whole wire.
	next := target.AddMemory(g.addr, g.n, types.PermReadWrite, anybody())
	rec = NewRecorder()
	path, _ := whole(t, target, rec)
	for i, w := range jobs {
		p := NewPost(w.post.Op, true, w.post.Slices...)
		for k := range p.Slices {
			p.Slices[k].Remote = next.ID
		}
		clear(w.dst[guard : len(w.dst)-guard])
		path.Post(p)
		r := rec.Wait(t, p)
		require.Equal(t, errcode.OK, r.Code, r.Detail)
		w.check(t, fmt.Sprintf("seed %d, again, post %d", seed, i), true)
	}
	path.Close(nil)
	rec.WaitDown(t)
}

// newWork draws an operation on the i-th range of both sides, as one slice or several.
func newWork(rng *rand.Rand, here []byte, g *Grant, i int) *work {
	n := 1 + rng.IntN(1<<(4+rng.IntN(16)))
	at := i * (rangeSize + 2*guard)
	op := types.Op(1 + rng.IntN(2))
	local, remote := here[at:at+n+2*guard], g.Bytes()[at:at+n+2*guard]
	w := &work{src: local, dst: remote}
	if op == types.Read {
		w.src, w.dst = remote, local
	}
	Pattern(w.src, rng.Uint64())
	Pattern(w.dst, 0)
	clear(w.dst[guard : guard+n])
	w.want = append([]byte{}, w.src...)
	var slices []transport.Slice
	for off := 0; off < n; {
		m := n - off
		if rng.IntN(2) == 0 && len(slices) < 20 {
			m = 1 + rng.IntN(m)
		}
		slices = append(slices, transport.Slice{
			Local: mem.Address(local) + uint64(guard+off), Remote: g.ID, Off: uint64(at + guard + off), Len: uint64(m),
			Req: uint32(len(slices)),
		})
		off += m
	}
	w.post = NewPost(op, true, slices...)
	return w
}

// check looks at both ranges and what is around them.
func (w *work) check(t *testing.T, what string, complete bool) {
	t.Helper()
	var around [guard * 2]byte
	outer := make([]byte, len(w.dst))
	Pattern(outer, 0)
	copy(around[:], outer[:guard])
	copy(around[guard:], outer[len(outer)-guard:])
	require.Equal(t, sum(w.want), sum(w.src), "%s: the source changed", what)
	require.Equal(t, around[:guard], w.dst[:guard], "%s: bytes before the range", what)
	require.Equal(t, around[guard:], w.dst[len(w.dst)-guard:], "%s: bytes behind the range", what)
	if complete {
		n := len(w.dst) - guard
		require.Equal(t, sum(w.want[guard:n]), sum(w.dst[guard:n]), "%s: complete, and wrong bytes", what)
	}
}

// over posts everything on a wire that breaks.
func over(t *testing.T, seed uint64, silent bool, wire Wire, rec *Recorder, jobs []*work, seen *Faults) {
	t.Helper()
	ended := make(chan struct{})
	left := make(chan struct{})
	go func() {
		defer close(left)
		if !silent {
			return
		}
		select {
		case <-wire.Fired:
			wire.Path.Abort(jobs[0].post)
			wire.Path.Close(errcode.New(errcode.PeerDead, "close path", "silent for too long"))
		case <-ended:
		}
	}()
	posts := make([]*transport.Post, 0, len(jobs))
	for _, w := range jobs {
		posts = append(posts, w.post)
		wire.Path.Post(w.post)
	}
	for i, w := range jobs {
		r := rec.Wait(t, w.post)
		what := fmt.Sprintf("seed %d, post %d, %v", seed, i, w.post.Op)
		complete := r.Code == errcode.OK && len(r.Failed) == 0
		seen.Posts++
		if complete {
			seen.Completed++
		} else {
			seen.Codes[reason(r)]++
			require.Contains(t, []errcode.Code{
				errcode.PeerUnreachable, errcode.PeerDead, errcode.Checksum, errcode.Canceled, errcode.Closed, errcode.Stalled,
				// A frame that changed and is caught for what it says.
				errcode.InvalidArgument, errcode.Unsupported, errcode.VersionSkew, errcode.Internal,
			}, reason(r), "%s: %s", what, r.Detail)
		}
		if !r.Answered {
			seen.Unanswered++
		}
		w.check(t, what, complete)
	}
	close(ended)
	<-left
	select {
	case <-wire.Fired:
		seen.Fired++
	default:
		for _, w := range jobs {
			require.Equal(t, errcode.OK, rec.Wait(t, w.post).Code, "seed %d: nothing was wrong with the wire", seed)
		}
	}
	wire.Path.Close(nil)
	rec.WaitDown(t)
	// Each post was given to the path before its end or refused by it at once: PostDone once in either case.
	rec.allowLate()
	rec.RequireExact(t, posts, true)
}

func reason(r transport.Result) errcode.Code {
	if r.Code == errcode.OK && len(r.Failed) > 0 {
		return r.Failed[0].Code
	}
	return r.Code
}
