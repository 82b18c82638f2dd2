package engine

import (
	"encoding/json"
	"sync"
	"time"

	"mooncake_te/gocore/errcode"
)

// Task is something under way that is not a transfer: open, drain, ping, notify, close. It ends exactly once.
type Task struct {
	e      *Engine
	done   chan struct{}
	mu     sync.Mutex
	armed  bool
	result any
	err    error
}

func (e *Engine) newTask() *Task { return &Task{e: e, done: make(chan struct{})} }

// run starts a task that a goroutine of the engine carries out.
func (e *Engine) run(f func() (any, error)) *Task {
	t := e.newTask()
	if !e.spawn(func() { t.finish(f()) }) {
		t.finish(nil, errcode.New(errcode.Closed, "start task", "the engine is closed"))
	}
	return t
}

func (t *Task) finish(result any, err error) {
	t.mu.Lock()
	t.result, t.err = result, err
	armed := t.armed
	close(t.done)
	t.mu.Unlock()
	if armed {
		t.e.wake.signal()
	}
}

// Done is closed once the task ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Wait reports whether the task ended within the timeout; 0 only looks.
func (t *Task) Wait(timeout time.Duration) bool { return waitFor(t.done, timeout) }

func waitFor(done <-chan struct{}, timeout time.Duration) bool {
	select {
	case <-done:
		return true
	default:
	}
	if timeout <= 0 {
		return false
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Arm makes the engine's eventfd fire when the task ends, at once if it has.
func (t *Task) Arm() {
	t.mu.Lock()
	t.armed = true
	t.mu.Unlock()
	if t.Wait(0) {
		t.e.wake.signal()
	}
}

// Err is the failure of a task that ended.
func (t *Task) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// ResultJSON is what a task that ended without an error brought.
func (t *Task) ResultJSON() ([]byte, error) {
	if !t.Wait(0) {
		return nil, errcode.New(errcode.WaitTimeout, "task result", "the task is still under way").WithHint("wait for it first")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	if t.result == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(t.result)
}
