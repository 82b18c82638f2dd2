package capi

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The table against a map: what was inserted is found until it is removed, and never again afterwards, whatever index
// its successors get.
func TestTableAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newTable[int](kindBatch)
		table.rest = 3 // so that slots are used again soon
		model := map[uint64]int{}
		var order, gone []uint64
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "n") {
					next++
					value := next
					h, err := table.insert(&value, uint64(next)<<8)
					require.NoError(t, err)
					require.NotZero(t, h)
					require.NotContains(t, model, h)
					model[h] = next
					order = append(order, h)
				}
			},
			"remove": func(t *rapid.T) {
				if len(order) == 0 {
					t.Skip("nothing is live")
				}
				for range min(len(order), rapid.IntRange(1, 8).Draw(t, "n")) {
					i := rapid.IntRange(0, len(order)-1).Draw(t, "which")
					h := order[i]
					order[i] = order[len(order)-1]
					order = order[:len(order)-1]
					v, word, is := table.remove(h)
					require.Equal(t, live, is)
					require.Equal(t, model[h], *v)
					require.EqualValues(t, model[h]<<8, word)
					delete(model, h)
					gone = append(gone, h)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), table.count())
				for h, want := range model {
					if v, word, is := table.lookup(h); is != live || *v != want || word != uint64(want)<<8 {
						t.Fatalf("handle %#x: got %v, %d, %d; want %d", h, v, word, is, want)
					}
				}
				for _, h := range gone {
					if _, _, is := table.lookup(h); is != closed {
						t.Fatalf("removed handle %#x: %d", h, is)
					}
					if _, _, is := table.remove(h); is != closed {
						t.Fatalf("removed handle %#x was removed again: %d", h, is)
					}
				}
			},
		})
	})
}

func TestForeignHandles(t *testing.T) {
	table := newTable[string](kindTask)
	value := "first"
	first, err := table.insert(&value, 0)
	require.NoError(t, err)
	for _, h := range []uint64{0, 1, ^uint64(0), first + 1, first &^ (0xf << 60), first | 1<<62, first + 1<<indexBits} {
		_, _, is := table.lookup(h)
		require.Equal(t, foreign, is, "%#x", h)
		_, _, is = table.remove(h)
		require.Equal(t, foreign, is, "%#x", h)
	}
	for bit := range 64 { // no single wrong bit leads to a value
		_, _, is := table.lookup(first ^ 1<<bit)
		require.NotEqual(t, live, is, "bit %d", bit)
	}
	v, _, is := table.lookup(first)
	require.Equal(t, live, is)
	require.Equal(t, "first", *v)
}

// A freed slot rests: the next uses go elsewhere, so that one slot's generations last.
func TestFreedSlotsRest(t *testing.T) {
	table := newTable[int](kindBatch)
	seen := map[uint64]bool{}
	for i := range 4 * minRest {
		h, err := table.insert(&i, 0)
		require.NoError(t, err)
		require.False(t, seen[h])
		seen[h] = true
		table.remove(h)
	}
	require.EqualValues(t, minRest, table.used.Load())
	require.Zero(t, table.count())
}

func TestGenerationWraps(t *testing.T) {
	table := newTable[int](kindBatch)
	h, err := table.insert(new(int), 1)
	require.NoError(t, err)
	table.remove(h)
	table.find(h).generation.Store(maxGeneration)
	for range minRest - 1 {
		other, err := table.insert(new(int), 0)
		require.NoError(t, err)
		table.remove(other)
	}
	again, err := table.insert(new(int), 2)
	require.NoError(t, err)
	require.EqualValues(t, 1, again>>indexBits&maxGeneration, "0 is no generation")
	require.NotZero(t, again)
}

func TestRemoveIf(t *testing.T) {
	table := newTable[int](kindBatch)
	var handles []uint64
	for i := range chunkSize + 10 {
		h, err := table.insert(&i, uint64(i))
		require.NoError(t, err)
		handles = append(handles, h)
	}
	table.removeIf(func(v *int, word uint64) bool { return *v == int(word) && word%2 == 1 })
	for i, h := range handles {
		_, _, is := table.lookup(h)
		require.Equal(t, map[bool]verdict{true: closed, false: live}[i%2 == 1], is)
	}
}

// Readers run against inserts and removes: each sees exactly the value of its handle or none. Of racing removers one
// gets the value.
func TestTableConcurrently(t *testing.T) {
	table := newTable[uint64](kindBatch)
	const perWorker = 2000
	var wg sync.WaitGroup
	var published [8]atomic.Uint64
	var won atomic.Int64
	for w := range published {
		wg.Go(func() {
			for i := range uint64(perWorker) {
				value := uint64(w)<<32 | i
				h, err := table.insert(&value, value)
				if err != nil {
					t.Error(err)
					return
				}
				published[w].Store(h)
				if _, _, is := table.remove(h); is == live {
					won.Add(1)
				}
			}
		})
		wg.Go(func() {
			for range perWorker {
				h := published[w].Load()
				if v, word, is := table.lookup(h); is == live && (word>>32 != uint64(w) || *v != word) {
					t.Errorf("handle %#x of worker %d gave value %#x and word %#x", h, w, *v, word)
				}
				if _, _, is := table.remove(h); is == live {
					won.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, len(published)*perWorker, won.Load(), "each value was removed exactly once")
	require.Zero(t, table.count())
}

func TestHandleLayout(t *testing.T) {
	require.Equal(t, 64, 4+generationBits+indexBits)
	require.Equal(t, indexBits, bits.Len(maxIndex))
	table := newTable[int](kindBatch)
	h, err := table.insert(new(int), 1)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() { table.lookup(h) }))
	table.rest = 1
	value := 7
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h, _ := table.insert(&value, 7)
		table.remove(h)
	}))
}

func BenchmarkLookup(b *testing.B) {
	table := newTable[int](kindBatch)
	h, err := table.insert(new(int), 1)
	require.NoError(b, err)
	for b.Loop() {
		if _, _, is := table.lookup(h); is != live {
			b.Fatal("lost")
		}
	}
}
