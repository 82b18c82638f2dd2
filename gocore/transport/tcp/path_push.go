package tcp

import "time"

// maxPush is the largest post in bytes that a caller's goroutine sends: more would keep it for longer than waking another.
const maxPush = 16 << 10

// maxPushes is how many posts, of other callers as well, one call sends.
const maxPushes = 4

// Push sends small posts that are queued in the goroutine of its caller (transport.Prompt). When another goroutine is at
// it, a post is large, or the socket is full, the writer goroutine gets the rest.
func (p *Path) Push() {
	if !p.enter() {
		return // the sweep reports what is queued
	}
	defer p.exit()
	for i := 0; ; i++ {
		p.mu.Lock()
		if p.busy || p.cause != nil { // whoever is at it looks again when done
			p.mu.Unlock()
			return
		}
		it := p.head()
		if it == nil || i == maxPushes || it.post.Bytes > maxPush || len(p.aborts) > 0 {
			left := it != nil || len(p.aborts) > 0
			p.mu.Unlock()
			if left {
				p.kick()
			}
			return
		}
		it.pushed = time.Now()
		p.take(it)
		p.mu.Unlock()

		p.send.nowait = true
		err := p.wr.write()
		p.send.nowait = false

		p.mu.Lock()
		if err == errAgain {
			p.begun = true // stays busy
		} else {
			p.busy = false
		}
		p.mu.Unlock()
		if err != nil && err != errAgain {
			p.fail(lostPeer(err))
			return
		}
		if err == errAgain {
			p.kick()
			return
		}
	}
}
