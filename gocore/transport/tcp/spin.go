package tcp

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// spinLimit is how long one looks for a small message before one sleeps. To sleep and be woken takes about as long.
	spinLimit = 50 * time.Microsecond
	// spinStreak is how many waits in a row must have been short before the next one is spent looking.
	spinStreak = 2
	// spinLooks is how many looks there are between two at the clock.
	spinLooks = 4
	// maxSpinPause is how many short waits at most are slept through after looking was to no avail.
	maxSpinPause = 64
	// minRest and maxRest are for how long a spinner only sleeps once somebody else took its processor while it looked: those
	// who sleep are let in at once when they wake, those who are busy wait for their turn, for milliseconds.
	minRest = 10 * time.Millisecond
	maxRest = 3 * time.Second
	// restedWins is after how many looks to some avail in a row the next rest is a short one again.
	restedWins = 1 << 12
)

// spinning counts those in this process who look at sockets instead of sleeping. There is one for every two processors:
// whoever looks takes a processor from somebody, maybe from the one whose message is awaited.
var spinning atomic.Int32

// spinner decides for one end of a connection whether the next wait for a small message is spent looking at the socket
// (which costs processor time, and saves two thread switches) or asleep. It looks only after waits that were short, and
// less and less often when looking does not help: when the peer is slow, far away, or has no processor of its own.
// One belongs to whoever may read the stream.
type spinner struct {
	need   int   // short waits in a row before the next one is spent looking
	slots  int32 // how many of the process may look at a time; 0: none
	streak int   // waits in a row that were short
	pause  int   // short waits to sleep through
	fails  int   // looks in a row that were to no avail
	wins   int   // that were to some

	rest  time.Duration // the last one
	until time.Time     // its end
	tired bool          // it has not ended, as far as is known

	on, spent bool // of the present wait: looking; has looked
	looks     int
	since     time.Time // when the present wait began; zero outside of one
}

func newSpinner() spinner { return spinner{need: spinStreak, slots: int32(runtime.GOMAXPROCS(0) / 2)} }

// again is called when nothing was there. It reports whether to look again at once; else one sleeps.
func (s *spinner) again() bool {
	switch {
	case s.on:
		if s.looks++; s.looks%spinLooks != 0 || time.Since(s.since) < spinLimit {
			return true
		}
		s.lookedFor(time.Since(s.since))
		s.stop()
		s.fails++
		s.wins = 0
		s.pause = min(1<<min(s.fails, 30), maxSpinPause)
		return false
	case s.spent:
		return false
	}
	s.begin()
	if s.tired || s.streak < s.need || s.pause > 0 || s.slots == 0 {
		return false
	}
	if spinning.Add(1) > s.slots {
		spinning.Add(-1)
		return false
	}
	s.on, s.looks = true, 0
	return true
}

// begin starts a wait that is measured but not spent looking, if none has begun.
func (s *spinner) begin() {
	if !s.spent {
		s.spent, s.since = true, time.Now()
		s.tired = s.tired && s.since.Before(s.until)
	}
}

// lookedFor takes how long one look lasted. Nobody looks for much longer than the limit, unless kept from it.
func (s *spinner) lookedFor(d time.Duration) {
	switch {
	case d > 2*spinLimit:
		s.tire(s.since.Add(d))
	case s.wins == restedWins:
		s.rest = 0
	}
}

// tire starts a rest.
func (s *spinner) tire(now time.Time) {
	s.rest = min(max(2*s.rest, minRest), maxRest)
	s.until = now.Add(s.rest)
	s.tired, s.wins = true, 0
}

// took takes how long a small operation was under way. A very long one says that some of those who take part had to wait
// for a processor, and that may be because we were busy.
func (s *spinner) took(begun time.Time) {
	if now := time.Now(); now.Sub(begun) > slowReply && !s.tired {
		s.tire(now)
	}
}

// stop ends looking, with or without success.
func (s *spinner) stop() {
	if s.on {
		s.on = false
		spinning.Add(-1)
	}
}

// end is called when the wait is over: something came. What was there at once counts as short.
func (s *spinner) end() {
	switch {
	case s.on:
		s.stop()
		s.fails = 0
		s.wins++
		s.lookedFor(time.Since(s.since))
	case s.spent && time.Since(s.since) > spinLimit*sleepFactor:
		s.streak = 0
		s.spent = false
		return
	case s.pause > 0:
		s.pause--
	}
	s.spent = false
	s.streak = min(s.streak+1, spinStreak)
}

// slept ends a wait of somebody who gave up looking, now that another one got what was awaited.
func (s *spinner) slept() {
	if s.spent {
		s.end()
	}
}

// slowReply is how long a small operation takes when somebody waits for a processor, and hardly ever else.
const slowReply = time.Millisecond

// sleepFactor is how much longer a wait may take asleep than awake: what would have come in time wakes us late.
const sleepFactor = 2
