package engine

import (
	"math/bits"
	"slices"
	"sync"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// span is what one request writes; space tells remote buffers apart.
type span struct{ space, off, n uint64 }

func overlap(a, b span) bool { return a.space == b.space && b.off-a.off < a.n }

func writes(dir types.Op, r *coherence.Request) span {
	if dir == types.Read {
		return span{0, r.Local, r.Len}
	}
	return span{uint64(r.Remote), r.Off, r.Len}
}

// checkOverlap refuses two requests of one batch that write the same byte: which one wins would be chance.
func checkOverlap(op string, dir types.Op, reqs []coherence.Request) error {
	sorted, equal := true, true
	for i := 1; i < len(reqs) && (sorted || equal); i++ {
		a, b := writes(dir, &reqs[i-1]), writes(dir, &reqs[i])
		equal = equal && a.n == b.n
		if sorted = sorted && (a.space < b.space || a.space == b.space && a.off <= b.off); sorted && overlap(a, b) {
			return refuseOverlap(op, dir, a, b)
		}
	}
	if sorted {
		return nil
	}
	x := overlaps.Get().(*overlapScratch)
	defer overlaps.Put(x)
	var a, b span
	var found bool
	if equal {
		a, b, found = x.blocks(dir, reqs)
	} else {
		a, b, found = x.sort(dir, reqs)
	}
	if found {
		return refuseOverlap(op, dir, a, b)
	}
	return nil
}

func refuseOverlap(op string, dir types.Op, a, b span) error {
	where := "the local target"
	if dir == types.Write {
		where = sprintf("remote buffer %d", a.space)
	}
	return errcode.New(errcode.InvalidArgument, op,
		sprintf("two requests of the batch overlap at the target: [0x%x, +%d) and [0x%x, +%d) in %s", a.off, a.n, b.off, b.n, where)).
		WithHint("each byte may be written once per batch")
}

// overlapScratch is memory for one check.
type overlapScratch struct {
	spans []span
	table []uint32 // indices of requests, from 1 on, at the hash of the block they begin in
}

var overlaps = sync.Pool{New: func() any { return new(overlapScratch) }}

// sort looks for an overlap among any spans.
func (x *overlapScratch) sort(dir types.Op, reqs []coherence.Request) (a, b span, found bool) {
	x.spans = x.spans[:0]
	for i := range reqs {
		x.spans = append(x.spans, writes(dir, &reqs[i]))
	}
	slices.SortFunc(x.spans, func(a, b span) int {
		switch {
		case a.space < b.space, a.space == b.space && a.off < b.off:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	for i := 1; i < len(x.spans); i++ {
		if overlap(x.spans[i-1], x.spans[i]) {
			return x.spans[i-1], x.spans[i], true
		}
	}
	return a, b, false
}

// blocks is sort for spans of one length n, without sorting: of those that do not overlap, at most one begins in any
// [k*n, (k+1)*n), and it can only touch those that begin in the two beside that.
func (x *overlapScratch) blocks(dir types.Op, reqs []coherence.Request) (a, b span, found bool) {
	n := reqs[0].Len
	size := 1 << bits.Len(uint(2*len(reqs)))
	if cap(x.table) < size {
		x.table = make([]uint32, size)
	}
	x.table = x.table[:size]
	clear(x.table)
	aligned := true
	first := writes(dir, &reqs[0]).off % n
	for i := range reqs {
		s := writes(dir, &reqs[i])
		// With one remainder for all, blocks that begin beside each other only touch.
		aligned = aligned && s.off%n == first
		at, other := x.find(dir, reqs, s.space, s.off/n, n)
		if other > 0 {
			return writes(dir, &reqs[other-1]), s, true
		}
		x.table[at] = uint32(i + 1)
	}
	if aligned {
		return a, b, false
	}
	for i := range reqs {
		s := writes(dir, &reqs[i])
		if _, next := x.find(dir, reqs, s.space, s.off/n+1, n); next > 0 {
			if b = writes(dir, &reqs[next-1]); overlap(s, b) {
				return s, b, true
			}
		}
	}
	return a, b, false
}

// find gives the request that begins in a block of n bytes, or 0 and the place for it.
func (x *overlapScratch) find(dir types.Op, reqs []coherence.Request, space, block, n uint64) (at int, found uint32) {
	mask := uint64(len(x.table) - 1)
	hash := (block ^ space<<48 ^ space>>16) * 0x9E3779B97F4A7C15
	for i := hash >> 20 & mask; ; i = (i + 1) & mask {
		k := x.table[i]
		if k == 0 {
			return int(i), 0
		}
		if s := writes(dir, &reqs[k-1]); s.space == space && s.off/n == block {
			return int(i), k
		}
	}
}
