// Package capi is the C ABI of the library: the Go half of what te.h declares. te.c defines the te_* functions and
// calls the teGo* exports of this package, which a version script (te.map) keeps out of the library's symbol table.
//
// It is a front without logic: it turns handles into engines, batches and tasks, C arguments into Go ones, errors into
// codes and a per-thread text, and a panic into TE_E_INTERNAL. What a call means is decided in gocore/engine.
//
// Ownership: nothing a caller passes is kept after the call returns, but the memory that it registered, which stays an
// address; nothing that is returned has to be freed by the caller. Status words of batches belong to the engine, off
// the Go heap, until te_batch_free or te_engine_destroy.
//
// Concurrency: every function may be called from any thread. Handle tables are read without a lock. An export never
// waits, but for teGoBatchWait, teGoTaskWait (bounded by their timeout), teGoEngineDestroy (bounded by the engine, and by
// calls in other threads, which do not wait) and teGoMetadataServerStop (bounded by the server).
package capi

/*
#include "te.h"
#include "te_internal.h"
*/
import "C"

import (
	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
)

// The tables are the one place with state for the whole process: a C ABI has no other place to keep it. They are empty
// until an engine is created.
var (
	engines = newTable[engineObject](kindEngine)
	batches = newTable[engine.Slot](kindBatch) // with the generation of the slot
	tasks   = newTable[taskObject](kindTask)
)

func init() {
	words, n := forkfd.Bitmap()
	C.capi_fork_fds((*C.uint64_t)(words), C.size_t(n))
}

// taskObject knows its engine, so that a task used with another engine is refused. Batches know theirs by themselves.
type taskObject struct {
	engine *engineObject
	*engine.Task
}

// lookupError turns a table's verdict on a handle into an error.
func lookupError(v verdict, op, noun string) error {
	switch v {
	case live:
		return nil
	case closed:
		return errcode.New(errcode.Closed, op, "the "+noun+" was closed or freed before").
			WithHint("create a new one; keep it open while it is used")
	default:
		return errcode.New(errcode.InvalidArgument, op, "this is no handle of "+article(noun)+" of this library").
			WithHint("pass the value that the creating call stored")
	}
}

func article(noun string) string {
	if noun == "engine" {
		return "an engine"
	}
	return "a " + noun
}

// enterEngine finds an engine and keeps it from being destroyed until leave. Whoever waits must leave first.
func enterEngine(op string, h uint64) (*engineObject, error) {
	e, _, v := engines.lookup(h)
	if v == live && !e.calls.Enter() {
		v = closed
	}
	return e, lookupError(v, op, "engine")
}

// enterBatch and enterTask find what belongs to an engine, and enter that engine.
func enterBatch(op string, eng, h uint64) (engine.Batch, *engineObject, error) {
	e, err := enterEngine(op, eng)
	if err != nil {
		return engine.Batch{}, nil, err
	}
	slot, generation, v := batches.lookup(h)
	b := engine.BatchOf(slot, generation)
	switch owner := b.Engine(); {
	case v == live && owner == nil:
		err = lookupError(closed, op, "batch") // just being freed
	case v == live && owner != e.Engine:
		err = foreignTo(op, "batch")
	default:
		err = lookupError(v, op, "batch")
	}
	if err != nil {
		e.leave()
	}
	return b, e, err
}

func enterTask(op string, eng, h uint64) (*taskObject, error) {
	e, err := enterEngine(op, eng)
	if err != nil {
		return nil, err
	}
	t, _, v := tasks.lookup(h)
	if err = lookupError(v, op, "task"); err == nil && t.engine != e {
		err = foreignTo(op, "task")
	}
	if err != nil {
		e.leave()
	}
	return t, err
}

func foreignTo(op, noun string) error {
	return errcode.New(errcode.InvalidArgument, op, "the "+noun+" belongs to another engine").
		WithHint("pass the engine that made it")
}

// destroyEngine turns new calls away, lets those under way leave, ends the engine, and then every handle of its batches
// and tasks. The engine's own memory (status words, allocations) is unmapped with it, so no call may be inside.
func destroyEngine(op string, h uint64) error {
	e, _, v := engines.remove(h)
	switch v {
	case live:
		e.calls.Close()
		<-e.calls.Quiet()
		e.Destroy()
		batches.removeIf(func(s *engine.Slot, generation uint64) bool {
			return engine.BatchOf(s, generation).Engine() == e.Engine
		})
		tasks.removeIf(func(t *taskObject, _ uint64) bool { return t.engine == e })
		return nil
	case closed:
		return nil
	}
	return lookupError(v, op, "engine")
}

// newTask stores the outcome of a call that starts something.
func newTask(e *engineObject, t *engine.Task, err error, out *C.te_task) error {
	if err != nil {
		return err
	}
	h, err := tasks.insert(&taskObject{engine: e, Task: t}, 0)
	if err != nil {
		return err
	}
	*out = C.te_task(h)
	return nil
}
