package coherence

import (
	"slices"
	"sort"

	"mooncake_te/gocore/types"
)

// idSet is a set of buffer IDs kept as sorted, disjoint, non-touching intervals. IDs count up and are never used again,
// so the sets that must be remembered for ever (revoked IDs, promises) grow together into a handful of intervals
// instead of growing by one entry per grant.
//
// The zero value is an empty set.
type idSet struct {
	spans []idSpan
	n     uint64 // members
}

// idSpan is the closed interval [lo, hi].
type idSpan struct{ lo, hi types.BufferID }

// find returns the index of the first span whose end is not below id.
func (s *idSet) find(id types.BufferID) int {
	return sort.Search(len(s.spans), func(i int) bool { return s.spans[i].hi >= id })
}

// Has reports whether id is a member.
func (s *idSet) Has(id types.BufferID) bool {
	i := s.find(id)
	return i < len(s.spans) && s.spans[i].lo <= id
}

// Add makes id a member.
func (s *idSet) Add(id types.BufferID) {
	i := s.find(id)
	if i < len(s.spans) && s.spans[i].lo <= id {
		return
	}
	s.n++
	// id lies in the hole before span i. No overflow: id+1 == lo implies id is not the largest ID.
	touchesNext := i < len(s.spans) && s.spans[i].lo-1 == id
	touchesPrev := i > 0 && s.spans[i-1].hi+1 == id
	switch {
	case touchesPrev && touchesNext:
		s.spans[i-1].hi = s.spans[i].hi
		s.spans = slices.Delete(s.spans, i, i+1)
	case touchesPrev:
		s.spans[i-1].hi = id
	case touchesNext:
		s.spans[i].lo = id
	default:
		s.spans = slices.Insert(s.spans, i, idSpan{id, id})
	}
}

// AddAll makes all ids members. It costs what sorting them and one walk over the set cost, however they lie: the list
// may come from a peer.
func (s *idSet) AddAll(ids []types.BufferID) {
	if len(ids) < 8 {
		for _, id := range ids {
			s.Add(id)
		}
		return
	}
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	merged := make([]idSpan, 0, len(s.spans)+8)
	old := s.spans
	s.n = 0
	take := func(next idSpan) {
		if last := len(merged) - 1; last >= 0 && (next.lo <= merged[last].hi || next.lo-1 == merged[last].hi) {
			merged[last].hi = max(merged[last].hi, next.hi)
			return
		}
		merged = append(merged, next)
	}
	for len(old) > 0 || len(sorted) > 0 {
		if len(sorted) == 0 || len(old) > 0 && old[0].lo <= sorted[0] {
			take(old[0])
			old = old[1:]
		} else {
			take(idSpan{sorted[0], sorted[0]})
			sorted = sorted[1:]
		}
	}
	s.spans = merged
	for _, sp := range merged {
		s.n += uint64(sp.hi-sp.lo) + 1
	}
}

// coarsen keeps at most limit spans by filling the lowest holes. For sets in which more members are harmless.
func (s *idSet) coarsen(limit int) {
	over := len(s.spans) - limit
	if over <= 0 {
		return
	}
	over = min(over+limit/2, len(s.spans)-1) // with room to grow, so that it is not done each time
	low := idSpan{s.spans[0].lo, s.spans[over].hi}
	for _, sp := range s.spans[:over+1] {
		s.n -= uint64(sp.hi-sp.lo) + 1
	}
	s.n += uint64(low.hi-low.lo) + 1
	s.spans = slices.Replace(s.spans, 0, over+1, low)
}

// Len counts the members.
func (s *idSet) Len() uint64 { return s.n }

// Intervals counts the spans that the members take: the memory this set costs.
func (s *idSet) Intervals() int { return len(s.spans) }

// dropBelow forgets every member below id, for sets that may forget the oldest.
func (s *idSet) dropBelow(id types.BufferID) {
	i := s.find(id)
	for _, sp := range s.spans[:i] {
		s.n -= uint64(sp.hi-sp.lo) + 1
	}
	s.spans = slices.Delete(s.spans, 0, i)
	if len(s.spans) > 0 && s.spans[0].lo < id {
		s.n -= uint64(id - s.spans[0].lo)
		s.spans[0].lo = id
	}
}
