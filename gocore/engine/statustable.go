package engine

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/types"
)

// statusWords is te_batch_status: what callers read without a call. state is stored last.
type statusWords struct {
	state       uint32
	outcome     uint32
	cause       int32
	remoteQuiet uint32
	bytesDone   uint64
	bytesTotal  uint64
}

const (
	statusSize     = 32
	statusPerBlock = 1 << 11 // 64 KiB
)

// statusTable hands out status words that lie outside the Go heap and never move.
type statusTable struct {
	arena *mem.Arena

	mu     sync.Mutex
	free   []uint64
	used   int
	closed bool
}

func newStatusTable() (*statusTable, error) {
	if unsafe.Sizeof(statusWords{}) != statusSize {
		return nil, errcode.New(errcode.Internal, "create engine", "te_batch_status has another size than its C form")
	}
	return &statusTable{arena: mem.NewArena(1 << 32)}, nil
}

// take returns zeroed words and their address.
func (t *statusTable) take() (*statusWords, uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		base, err := t.arena.Allocate(statusPerBlock * statusSize)
		if err != nil {
			return nil, 0, err
		}
		for i := range uint64(statusPerBlock) {
			t.free = append(t.free, base+i*statusSize)
		}
	}
	addr := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.used++
	w := wordsAt(addr)
	*w = statusWords{}
	return w, addr, nil
}

func (t *statusTable) put(addr uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free = append(t.free, addr)
	t.used--
	t.unmapIfUnused()
}

// close gives the memory back once no batch holds words of it: a caller may still look at a batch that it has not freed.
func (t *statusTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.unmapIfUnused()
}

func (t *statusTable) unmapIfUnused() {
	if t.closed && t.used == 0 {
		t.free = nil
		t.arena.Close()
	}
}

func wordsAt(addr uint64) *statusWords {
	return (*statusWords)(unsafe.Pointer(unsafe.SliceData(mem.Bytes(addr, statusSize))))
}

// progress stores how far a batch is.
func (w *statusWords) progress(done uint64) { atomic.StoreUint64(&w.bytesDone, done) }

// final stores the result; the state goes last so that whoever sees it sees the rest.
func (w *statusWords) final(outcome types.Outcome, cause errcode.Code, remoteQuiet bool, done uint64) {
	w.outcome, w.cause = uint32(outcome), int32(cause)
	if remoteQuiet {
		w.remoteQuiet = 1
	}
	atomic.StoreUint64(&w.bytesDone, done)
	atomic.StoreUint32(&w.state, 1)
}
