package hostile

/*
#cgo CFLAGS: -I${SRCDIR}/..
#cgo LDFLAGS: -Wl,-unresolved-symbols=ignore-all
#include <stdlib.h>
#include <string.h>
#include "te.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	_ "mooncake_te/capi" // defines what te.h declares
	"mooncake_te/gocore/mem"
)

const (
	arrayLen  = 64 // entries of each array that is passed in
	arenaLen  = 1 << 20
	textLimit = 4096
)

// Caller is one careless program: an engine that is its own peer, some memory, and what it was given so far.
type Caller struct {
	engine  C.te_engine
	address string
	arena   *mem.Mapping // of which half is registered by calls
	arrays  [6]*C.uint64_t
	text    *C.char
	out     *C.char

	buffers, segments, batches, tasks []uint64
	closed                            bool
	succeeded                         map[string]int // calls, by function
	problems                          []string
}

// NewCaller starts an engine.
func NewCaller() (*Caller, error) {
	c := &Caller{succeeded: map[string]int{}, text: (*C.char)(C.malloc(textLimit)), out: (*C.char)(C.malloc(textLimit))}
	for i := range c.arrays {
		c.arrays[i] = (*C.uint64_t)(C.calloc(arrayLen+1, 8))
	}
	var err error
	if c.arena, err = mem.Map(arenaLen); err != nil {
		return nil, err
	}
	return c, c.start()
}

func (c *Caller) start() error {
	config := C.CString(`{"name": "hostile", "log_level": "off", "drain_ms": 0, "open_timeout_ms": 500, "max_allocated_bytes": 16777216}`)
	defer C.free(unsafe.Pointer(config))
	if rc := C.te_engine_create(config, &c.engine); rc != 0 {
		return fmt.Errorf("te_engine_create: %d", rc)
	}
	var info struct{ Addresses []string }
	if rc := C.te_engine_query(c.engine, c.fixed("info"), c.out, textLimit, nil); rc != 0 {
		return fmt.Errorf("te_engine_query: %d", rc)
	}
	err := json.Unmarshal([]byte(C.GoString(c.out)), &info)
	if err == nil {
		c.address = info.Addresses[0]
	}
	c.closed = false
	return err
}

// Close ends the engine and gives everything back.
func (c *Caller) Close() error {
	C.te_engine_destroy(c.engine)
	for _, p := range c.arrays {
		C.free(unsafe.Pointer(p))
	}
	C.free(unsafe.Pointer(c.text))
	C.free(unsafe.Pointer(c.out))
	return c.arena.Free()
}

// Run carries out a program and returns what was wrong with the library's answers. Afterwards nothing of it is left.
func (c *Caller) Run(program []byte) []string {
	runtime.LockOSThread() // te_last_error is of the thread that made the call
	defer runtime.UnlockOSThread()
	c.problems = nil
	r := &reader{program}
	c.prepare()
	for range 64 {
		if r.empty() {
			break
		}
		c.call(r)
	}
	c.tidy()
	return c.problems
}

// prepare gives each program something to work with: a buffer that peers may use, and a peer, which is ourselves.
func (c *Caller) prepare() {
	var id C.uint64_t
	all := C.te_registration{
		struct_size: C.uint32_t(unsafe.Sizeof(C.te_registration{})), remote: C.TE_REMOTE_ALL,
		perm: C.TE_PERM_READ | C.TE_PERM_WRITE, writable: 1, address: C.uint64_t(c.arena.Addr()), length: arenaLen,
	}
	if c.check("te_buffer_register", C.te_buffer_register(c.engine, &all, 1, &id)) {
		c.buffers = append(c.buffers, uint64(id))
	}
	c.open(&reader{[]byte{3, 'm', 'e', 0}})
}

// tidy ends what the program left, so that programs do not depend on each other.
func (c *Caller) tidy() {
	if c.closed {
		c.buffers, c.segments, c.batches, c.tasks = nil, nil, nil, nil
		c.check("te_engine_destroy", C.te_engine_destroy(c.engine))
		if err := c.start(); err != nil {
			c.problems = append(c.problems, err.Error())
		}
		return
	}
	for _, b := range c.batches {
		C.te_batch_cancel(c.engine, C.te_batch(b))
		for range 100 {
			if C.te_batch_wait(c.engine, C.te_batch(b), 100) != C.TE_E_WAIT_TIMEOUT {
				break
			}
		}
		C.te_batch_free(c.engine, C.te_batch(b))
	}
	for _, t := range c.tasks {
		C.te_task_free(c.engine, C.te_task(t))
	}
	for _, id := range c.buffers {
		var t C.te_task
		one := C.uint64_t(id)
		if C.te_buffer_drain(c.engine, &one, 1, 0, &t) == 0 {
			C.te_task_wait(c.engine, t, 1000)
			C.te_task_free(c.engine, t)
		}
	}
	for _, s := range c.segments {
		C.te_segment_close(c.engine, C.uint64_t(s))
	}
	c.buffers, c.segments, c.batches, c.tasks = nil, nil, nil, nil
}

// check holds every answer to the contract: a known code, never INTERNAL, and details for each failure.
func (c *Caller) check(what string, rc C.int) bool {
	if rc == C.TE_OK {
		c.succeeded[what]++
		return true
	}
	if rc > 0 || rc < C.TE_E_VERSION_SKEW || rc == C.TE_E_INTERNAL || rc == C.TE_E_FORKED {
		c.problems = append(c.problems, fmt.Sprintf("%s: code %d", what, rc))
		return false
	}
	var said struct {
		Code    int32
		Message string
	}
	var needed C.size_t
	switch e := C.te_last_error(c.out, textLimit, &needed); {
	case e == C.TE_E_BUFFER_TOO_SMALL && needed > textLimit:
	case e != C.TE_OK:
		c.problems = append(c.problems, fmt.Sprintf("%s: te_last_error gives %d", what, e))
	case json.Unmarshal([]byte(C.GoString(c.out)), &said) != nil || said.Code != int32(rc) || said.Message == "":
		c.problems = append(c.problems, fmt.Sprintf("%s: code %d, and te_last_error says %s", what, rc, C.GoString(c.out)))
	}
	return false
}

// fixed puts a text where C can see it, until the next one.
func (c *Caller) fixed(s string) *C.char {
	s = strings.ReplaceAll(s, "\x00", "")
	b := unsafe.Slice((*byte)(unsafe.Pointer(c.text)), textLimit)
	n := copy(b[:textLimit-1], s)
	b[n] = 0
	return c.text
}

// words fills one of the arrays, and may give NULL or a pointer that is not aligned instead.
func (c *Caller) words(r *reader, i int, known []uint64) *C.uint64_t {
	switch x := r.byte(); x {
	case 255:
		return nil
	case 254:
		return (*C.uint64_t)(unsafe.Add(unsafe.Pointer(c.arrays[i]), 4))
	default:
		for k := range unsafe.Slice(c.arrays[i], int(x)%8) {
			unsafe.Slice(c.arrays[i], arrayLen)[k] = C.uint64_t(r.number(known))
		}
	}
	return c.arrays[i]
}
