package engine

import (
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// maxPrompt is up to how many bytes a batch is sent by the goroutine that submits it, and helped along by the one that
// waits for it. For more, a thread switch is little beside the work.
const maxPrompt = 16 << 10

// prompt posts at once what a submission may post. The caller holds mu, and pushes the path that it is given, if any, when
// it has let go.
func (p *peer) prompt(b *Slot) transport.Prompt {
	p.prompting = b.t.Bytes() <= maxPrompt
	p.pump()
	held := p.held
	p.prompting, p.held = false, nil
	return held
}

// give hands a post to a path. Callers hold mu.
func (p *peer) give(ps *pathState, b *Slot, post *coherence.Post) {
	small := ps.prompt != nil && b.t.Bytes() <= maxPrompt
	if small {
		b.via.Store(ps)
	}
	if small && p.prompting && (p.held == nil || p.held == ps.prompt) {
		p.held = ps.prompt
		ps.prompt.Hold(post)
		return
	}
	ps.path.Post(post)
}

// Final reports whether the batch is final (transport.Awaited).
func (b *Slot) Final() bool { return b.ended.Load() }

// help lets the caller, who waits for the batch, do what is left to do for it. It reports whether the batch got final.
func (b *Slot) help() bool {
	if ps := b.via.Load(); ps != nil {
		ps.prompt.Help(b)
	}
	return b.ended.Load()
}

// rouse says that somebody waits for the batch without help.
func (b *Slot) rouse() {
	if ps := b.via.Load(); ps != nil {
		ps.prompt.Rouse()
	}
}

// newPathState takes a path up. Callers hold mu.
func (p *peer) newPathState(path transport.Path) *pathState {
	p.opened++
	prompt, _ := path.(transport.Prompt)
	return &pathState{path: path, prompt: prompt, order: p.opened}
}

// lighter reports whether a path has less to do than another. Of two that are idle it is always the same one, so that
// whoever looks for small requests at its other end sees them come.
func (ps *pathState) lighter(than *pathState) bool {
	return ps.bytes < than.bytes || ps.bytes == than.bytes && ps.order < than.order
}

// wakeBy sees that the timer fires at a time or before. One that is set for earlier stays: it is cheaper to be woken for
// nothing every tick than to move the timer with each batch. Callers hold mu.
func (p *peer) wakeBy(at types.Time) {
	if p.wakesAt != 0 && p.wakesAt <= at {
		return
	}
	p.wakesAt = at
	p.timer.Reset(max(time.Duration(at-p.e.now()), time.Millisecond))
}
