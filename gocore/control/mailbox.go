package control

import (
	"sync"

	"mooncake_te/gocore/control/controlpb"
)

// mailboxDepth bounds the events of one peer that wait for the handler; then its reader waits.
const mailboxDepth = 256

// mailbox runs the handler calls of one peer one after the other, whichever goroutine posts them. A goroutine exists
// only while there is something to run.
type mailbox struct {
	spawn func(func()) // starts a goroutine that Node.Close waits for

	mu      sync.Mutex
	current *session // the one whose events count
	calls   []func()
	running bool
	slots   chan struct{} // one per event in calls
}

func newMailbox(spawn func(func())) *mailbox {
	return &mailbox{spawn: spawn, slots: make(chan struct{}, mailboxDepth)}
}

// event posts an event of s, waiting for room. It is dropped if s is not (or no longer) the current session.
func (m *mailbox) event(s *session, h Handler, ev *controlpb.Event) {
	select {
	case m.slots <- struct{}{}:
	case <-s.done:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != s {
		<-m.slots
		return
	}
	m.post(func() {
		<-m.slots
		h.Event(s, ev)
	})
}

// change posts a call and makes s (nil: none) the session whose events are taken from here on.
func (m *mailbox) change(s *session, call func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = s
	m.post(call)
}

func (m *mailbox) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.running
}

func (m *mailbox) post(call func()) {
	m.calls = append(m.calls, call)
	if !m.running {
		m.running = true
		m.spawn(m.run)
	}
}

func (m *mailbox) run() {
	for {
		m.mu.Lock()
		if len(m.calls) == 0 {
			m.running, m.calls = false, nil
			m.mu.Unlock()
			return
		}
		call := m.calls[0]
		m.calls[0] = nil
		m.calls = m.calls[1:]
		m.mu.Unlock()
		call()
	}
}
