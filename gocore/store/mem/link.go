package mem

import (
	"context"
	"errors"
	"sync"
)

var errCut = errors.New("connection refused")

// Link stands for the network between a client and the server, so that tests can break it.
type Link struct {
	mu      sync.Mutex
	mode    linkMode
	changed chan struct{} // closed when mode changes
}

type linkMode int

const (
	healthy linkMode = iota
	holding          // requests arrive, answers do not
	silent           // nothing arrives
	cut              // refused at once
)

func newLink() *Link { return &Link{changed: make(chan struct{})} }

// Cut ends all connections and refuses new ones.
func (l *Link) Cut() { l.set(cut) }

// HoldAnswers lets requests through and keeps the answers until Heal.
func (l *Link) HoldAnswers() { l.set(holding) }

// Silence swallows everything while connections stay open, until Heal.
func (l *Link) Silence() { l.set(silent) }

// Heal makes the link whole; what was held goes on.
func (l *Link) Heal() { l.set(healthy) }

func (l *Link) set(m linkMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mode = m
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) now() (linkMode, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode, l.changed
}

// pass waits until a message gets through: a request, or an answer.
func (l *Link) pass(ctx context.Context, answer bool) error {
	for {
		mode, changed := l.now()
		switch {
		case mode == cut:
			return errCut
		case mode == healthy || mode == holding && !answer:
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
