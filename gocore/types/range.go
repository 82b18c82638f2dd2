package types

import (
	"errors"
	"fmt"
	"slices"
)

// Range is a part of a registration; Off counts from the start of the registration.
type Range struct{ Off, Len uint64 }

// Contains reports whether [off, off+n) lies in the range, in unsigned arithmetic that cannot wrap (invariant S11).
func (r Range) Contains(off, n uint64) bool {
	return n > 0 && off >= r.Off && off-r.Off <= r.Len && n <= r.Len-(off-r.Off)
}

func (r Range) String() string { return fmt.Sprintf("[%d, +%d)", r.Off, r.Len) }

// NormalizeRanges sorts ranges, checks them against the registration's length and merges those that touch, so that a
// request over two adjacent granted blocks lies in one range. Overlapping ranges are refused: they are a caller's slip.
func NormalizeRanges(ranges []Range, length uint64) ([]Range, error) {
	if len(ranges) == 0 {
		return nil, errors.New("no range given")
	}
	sorted := slices.Clone(ranges)
	for i, r := range sorted {
		if !(Range{Off: 0, Len: length}).Contains(r.Off, r.Len) {
			return nil, fmt.Errorf("range %d %v lies outside the registration of %d bytes or is empty", i, r, length)
		}
	}
	slices.SortFunc(sorted, func(a, b Range) int {
		if a.Off < b.Off {
			return -1
		}
		if a.Off > b.Off {
			return 1
		}
		return 0
	})
	out := sorted[:1]
	for _, r := range sorted[1:] {
		last := &out[len(out)-1]
		switch end := last.Off + last.Len; {
		case r.Off < end:
			return nil, fmt.Errorf("ranges %v and %v overlap", *last, r)
		case r.Off == end:
			last.Len += r.Len
		default:
			out = append(out, r)
		}
	}
	return out, nil
}

// FindRange returns the index of the range that contains [off, off+n), or -1. Ranges must be normalized.
func FindRange(ranges []Range, off, n uint64) int {
	i, found := slices.BinarySearchFunc(ranges, off, func(r Range, off uint64) int {
		if r.Off < off {
			return -1
		}
		if r.Off > off {
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 || !ranges[i].Contains(off, n) {
		return -1
	}
	return i
}
