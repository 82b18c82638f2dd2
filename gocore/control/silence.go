package control

import "time"

// silence judges whether a peer is dead: it has said nothing at `limit` ticks in a row. Elapsed time alone never
// says so. A process that was stopped or starved finds messages waiting in its socket, so after a late tick the count
// starts again; and while the reader waits for our own handler the silence is ours.
type silence struct {
	every  time.Duration
	limit  int
	last   time.Time // monotonic
	heard  int64
	missed int
}

// tick takes the count of messages heard so far and whether the reader is waiting for one; true means dead.
func (s *silence) tick(now time.Time, heard int64, listening bool) bool {
	late := now.Sub(s.last) > 2*s.every
	s.last = now
	if heard != s.heard || late || !listening {
		s.heard, s.missed = heard, 0
		return false
	}
	s.missed++
	return s.missed >= s.limit
}
