package coherence

import "mooncake_te/gocore/types"

// backoff is the pause before the next attempt of one thing: it doubles from least to most, with jitter of half of it so
// that those who lost the same store or peer do not come back together. The zero value is no pause yet.
type backoff struct{ pause types.Time }

// after notes one more failure and returns when the next attempt may start.
func (b *backoff) after(now, least, most types.Time, random func() uint64) types.Time {
	b.pause = min(max(2*b.pause, least), most)
	half := b.pause / 2
	return now + half + types.Time(random()%uint64(half+1))
}

func (b *backoff) reset() { b.pause = 0 }
