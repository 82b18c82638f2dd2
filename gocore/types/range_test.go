package types_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

func TestContains(t *testing.T) {
	const top = math.MaxUint64
	for _, c := range []struct {
		r      types.Range
		off, n uint64
		want   bool
	}{
		{types.Range{Off: 100, Len: 50}, 100, 50, true},
		{types.Range{Off: 100, Len: 50}, 149, 1, true},
		{types.Range{Off: 100, Len: 50}, 100, 51, false},
		{types.Range{Off: 100, Len: 50}, 99, 1, false},
		{types.Range{Off: 100, Len: 50}, 150, 1, false},
		{types.Range{Off: 100, Len: 50}, 149, 2, false},
		{types.Range{Off: 100, Len: 50}, 120, 0, false}, // no bytes are nowhere
		{types.Range{Off: 100, Len: 50}, 150, 0, false},
		{types.Range{Off: 0, Len: 4096}, 0, 0, false},
		{types.Range{Off: 0, Len: 4096}, 4095, top, false}, // off+n wraps to 4094
		{types.Range{Off: 0, Len: 4096}, 1, top, false},
		{types.Range{Off: 100, Len: 50}, 120, top - 10, false},
		{types.Range{Off: 0, Len: 4096}, top, 1, false}, // off+n wraps to 0
		{types.Range{Off: 0, Len: 4096}, top, 2, false},
		{types.Range{Off: 8, Len: 4096}, top, 9, false},
		{types.Range{Off: 0, Len: top}, 0, top, true},
		{types.Range{Off: top - 4, Len: 4}, top - 4, 4, true},
		{types.Range{Off: top - 4, Len: 4}, top - 1, 2, false},
	} {
		require.Equal(t, c.want, c.r.Contains(c.off, c.n), "[%d, +%d) in %v", c.off, c.n, c.r)
	}
}

func TestNormalizeRanges(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want []types.Range
	}{
		{"sorted", []types.Range{{Off: 64, Len: 8}, {Off: 0, Len: 8}}, []types.Range{{Off: 0, Len: 8}, {Off: 64, Len: 8}}},
		{"neighbours are one", []types.Range{{Off: 8, Len: 8}, {Off: 16, Len: 4}, {Off: 0, Len: 8}}, []types.Range{{Off: 0, Len: 20}}},
		{"a gap of one byte stays", []types.Range{{Off: 0, Len: 8}, {Off: 9, Len: 7}}, []types.Range{{Off: 0, Len: 8}, {Off: 9, Len: 7}}},
		{"all of it", []types.Range{{Off: 0, Len: 100}}, []types.Range{{Off: 0, Len: 100}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := types.NormalizeRanges(c.in, 100)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	for name, bad := range map[string][]types.Range{
		"none":                  nil,
		"empty":                 {{Off: 4, Len: 0}},
		"too long":              {{Off: 60, Len: 41}},
		"behind the end":        {{Off: 100, Len: 1}},
		"wraps":                 {{Off: 50, Len: math.MaxUint64}},
		"two that overlap":      {{Off: 0, Len: 9}, {Off: 8, Len: 8}},
		"two that are the same": {{Off: 8, Len: 8}, {Off: 8, Len: 8}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := types.NormalizeRanges(bad, 100)
			require.Error(t, err)
		})
	}
}

func TestFindRange(t *testing.T) {
	ranges := []types.Range{{Off: 0, Len: 8}, {Off: 9, Len: 7}, {Off: 32, Len: 32}}
	for _, c := range []struct {
		off, n uint64
		want   int
	}{
		{0, 8, 0}, {7, 1, 0}, {7, 2, -1}, {8, 1, -1}, {8, 2, -1}, {9, 7, 1}, {15, 1, 1}, {15, 2, -1}, {16, 1, -1},
		{32, 32, 2}, {63, 1, 2}, {63, 2, -1}, {64, 1, -1}, {33, math.MaxUint64, -1}, {12, 0, -1},
	} {
		require.Equal(t, c.want, types.FindRange(ranges, c.off, c.n), "[%d, +%d)", c.off, c.n)
	}
	require.Equal(t, -1, types.FindRange(nil, 0, 1))
}
