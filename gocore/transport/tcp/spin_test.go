package tcp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// wait lets a spinner wait for d; it looks every microsecond. It returns how long it looked before it would have slept.
func (s *spinner) wait(d time.Duration) (looked time.Duration) {
	begun := time.Now()
	for time.Since(begun) < d {
		if !s.again() {
			looked = time.Since(begun)
			time.Sleep(d - looked)
			s.end()
			return looked
		}
		time.Sleep(time.Microsecond)
	}
	s.end()
	return d
}

func TestSpinnerLooksAfterShortWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spinner{need: spinStreak, slots: 1}
		for range spinStreak {
			require.Zero(t, s.wait(10*time.Microsecond))
		}
		for range 100 {
			require.Equal(t, 10*time.Microsecond, s.wait(10*time.Microsecond))
		}
		require.Zero(t, spinning.Load())
	})
}

func TestSpinnerSleepsThroughLongWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spinner{need: spinStreak, slots: 1}
		for range 100 {
			require.Zero(t, s.wait(time.Millisecond))
		}
	})
}

// A long wait after short ones costs one look of bounded length, and not another one before waits are short again.
func TestSpinnerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spinner{need: spinStreak, slots: 1}
		for range spinStreak {
			s.wait(time.Microsecond)
		}
		looked := s.wait(time.Second)
		require.GreaterOrEqual(t, looked, spinLimit)
		require.LessOrEqual(t, looked, spinLimit+spinLooks*time.Microsecond)
		require.Zero(t, spinning.Load())
		require.Zero(t, s.wait(time.Second))
	})
}

// When waits are short, but never short enough, looking gets rare.
func TestSpinnerLooksSeldomInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spinner{need: spinStreak, slots: 1}
		const n = 100 * maxSpinPause
		looks := 0
		for range n {
			if s.wait(spinLimit+10*time.Microsecond) > 0 {
				looks++
			}
		}
		require.Positive(t, looks)
		require.LessOrEqual(t, looks, n/maxSpinPause+16)
	})
}

// Who loses the processor while looking only sleeps for a while, longer each time.
func TestSpinnerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spinner{slots: 1}
		for rest := minRest; rest < 2*maxRest; rest *= 2 {
			require.True(t, s.again())
			time.Sleep(3 * time.Millisecond) // somebody else runs
			s.end()
			over := time.Now().Add(min(rest, maxRest))
			for time.Now().Before(over) {
				require.Zero(t, s.wait(10*time.Microsecond))
				time.Sleep(time.Millisecond)
			}
			require.Equal(t, 10*time.Microsecond, s.wait(10*time.Microsecond), "it rested")
		}
		s.took(time.Now().Add(-slowReply))
		require.False(t, s.tired)
		for range restedWins {
			s.wait(10 * time.Microsecond)
		}
		require.True(t, s.again())
		time.Sleep(3 * time.Millisecond)
		s.end()
		require.Equal(t, minRest, s.rest, "all was well for long")
		time.Sleep(minRest)
		require.Equal(t, 10*time.Microsecond, s.wait(10*time.Microsecond))
		s.took(time.Now().Add(-slowReply - 1))
		require.Zero(t, s.wait(10*time.Microsecond), "a slow reply tires, too")
	})
}

// No more than the slots look at a time, in the whole process.
func TestSpinnersShareSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := spinner{slots: 1}, spinner{slots: 1}
		require.True(t, a.again())
		require.False(t, b.again())
		b.end()
		a.end()
		require.True(t, b.again())
		b.end()
		require.Zero(t, spinning.Load())

		none := spinner{}
		require.False(t, none.again(), "one processor: whoever looks keeps the peer from running")
	})
}
