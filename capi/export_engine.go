package capi

/*
#include "te.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
)

// engineObject is an engine and what was taken from it but not yet handed to the caller.
type engineObject struct {
	*engine.Engine
	calls gate.Gate // those inside; closed by destroy

	mu sync.Mutex
	// Notifications whose JSON did not fit into the caller's buffer: a query that fails must lose none.
	undelivered []engine.Notification
}

func (e *engineObject) leave() { e.calls.Leave() }

// maxDuration keeps sums of a clock and a duration from wrapping; a hundred years serve as "never".
const maxDuration = 100 * 365 * 24 * time.Hour

// millis turns a caller's milliseconds into a duration; those below 0 are the caller's way to say "default" and stay
// below 0.
func millis(ms int64) time.Duration {
	if ms > int64(maxDuration/time.Millisecond) {
		return maxDuration
	}
	return time.Duration(max(ms, -1)) * time.Millisecond
}

//export teGoEngineCreate
func teGoEngineCreate(document *C.char, out *C.te_engine) (rc C.int) {
	const op = "create engine"
	defer guard(op, &rc)
	text, err := textIn(op, "config_json", document, maxConfig)
	if err != nil {
		return finish(err)
	}
	cfg, err := config.Parse([]byte(text))
	if err != nil {
		return finish(err)
	}
	e, err := engine.New(cfg)
	if err != nil {
		return finish(err)
	}
	h, err := engines.insert(&engineObject{Engine: e}, 0)
	if err != nil {
		e.Destroy()
		return finish(err)
	}
	*out = C.te_engine(h)
	return 0
}

//export teGoEngineClose
func teGoEngineClose(h C.te_engine, drainMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "close engine"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	return finish(newTask(e, e.Close(millis(int64(drainMS))), nil, out))
}

//export teGoEngineDestroy
func teGoEngineDestroy(h C.te_engine) (rc C.int) {
	const op = "destroy engine"
	defer guard(op, &rc)
	return finish(destroyEngine(op, uint64(h)))
}

//export teGoEngineEventFD
func teGoEngineEventFD(h C.te_engine, fd *C.int) (rc C.int) {
	const op = "get event fd"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	n := e.EventFD()
	if n < 0 {
		return finish(lookupError(closed, op, "engine"))
	}
	*fd = C.int(n)
	return 0
}

//export teGoEngineQuery
func teGoEngineQuery(h C.te_engine, what *C.char, buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "query engine"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	key, err := textIn(op, "what", what, maxKey)
	if err != nil {
		return finish(err)
	}
	var text []byte
	switch key {
	case "info":
		text, err = json.Marshal(e.Info())
	case "status":
		text, err = e.StatusJSON()
	case "metrics":
		text, err = e.MetricsText()
	case "notifications":
		return finish(e.takeNotifications(func(text []byte) error { return textOut(op, text, buf, capacity, needed) }))
	default:
		err = errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("unknown query %q", key)).
			WithHint("info, status, metrics and notifications can be asked for")
	}
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

// takeNotifications delivers what was received as JSON; what could not be delivered is kept for the next call.
func (e *engineObject) takeNotifications(deliver func([]byte) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.Notifications() {
		if n.Payload == nil {
			n.Payload = []byte{} // "", not null
		}
		e.undelivered = append(e.undelivered, n)
	}
	text := []byte("[]")
	if len(e.undelivered) > 0 {
		var err error
		if text, err = json.Marshal(e.undelivered); err != nil {
			return err
		}
	}
	if err := deliver(text); err != nil {
		return err
	}
	e.undelivered = nil
	return nil
}
