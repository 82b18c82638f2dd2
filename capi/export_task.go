package capi

/*
#include "te.h"
*/
import "C"

import (
	"errors"
	"time"

	"mooncake_te/gocore/errcode"
)

// endedError is what a task that ended reports. Its caller takes WAIT_TIMEOUT for "still under way" and would wait for
// ever, so what timed out inside a task is a deadline that passed.
func endedError(err error) error {
	e, ok := errors.AsType[*errcode.Error](err)
	if !ok || e.Code != errcode.WaitTimeout {
		return err
	}
	passed := *e
	passed.Code = errcode.Deadline
	return &passed
}

//export teGoTaskWait
func teGoTaskWait(h C.te_engine, task C.te_task, timeoutMS C.int32_t) (rc C.int) {
	const op = "wait for task"
	defer guard(op, &rc)
	t, err := enterTask(op, uint64(h), uint64(task))
	if err != nil {
		return finish(err)
	}
	t.engine.leave() // before it waits: destroy need not wait for a waiter
	if !t.Wait(time.Duration(timeoutMS) * time.Millisecond) {
		return C.TE_E_WAIT_TIMEOUT // te.c says the rest
	}
	return finish(endedError(t.Err()))
}

//export teGoTaskArm
func teGoTaskArm(h C.te_engine, task C.te_task) (rc C.int) {
	const op = "arm task"
	defer guard(op, &rc)
	t, err := enterTask(op, uint64(h), uint64(task))
	if err != nil {
		return finish(err)
	}
	defer t.engine.leave()
	t.Arm()
	return 0
}

//export teGoTaskResult
func teGoTaskResult(h C.te_engine, task C.te_task, buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "read task result"
	defer guard(op, &rc)
	t, err := enterTask(op, uint64(h), uint64(task))
	if err != nil {
		return finish(err)
	}
	defer t.engine.leave()
	if !t.Wait(0) {
		return C.TE_E_WAIT_TIMEOUT
	}
	if err := endedError(t.Err()); err != nil {
		return finish(err)
	}
	text, err := t.ResultJSON()
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

//export teGoTaskFree
func teGoTaskFree(h C.te_engine, task C.te_task) (rc C.int) {
	const op = "free task"
	defer guard(op, &rc)
	t, err := enterTask(op, uint64(h), uint64(task))
	if err != nil {
		return finish(err)
	}
	defer t.engine.leave()
	if _, _, v := tasks.remove(uint64(task)); v != live {
		return finish(lookupError(v, op, "task"))
	}
	return 0
}
