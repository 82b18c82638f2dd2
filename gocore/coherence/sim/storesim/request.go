package storesim

import (
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// requestTimeout is how long a process waits for an answer of the store.
const requestTimeout = 3 * types.Second

// ask sends one request to the store. do is what the store does with it and returns the answer to be fed; failed is fed
// instead when there is none: unknown says that it may have been done, or may still be.
func (p *proc) ask(what string, write bool, do func() (answer func()), failed func(code errcode.Code, unknown bool)) {
	w := p.w
	answered := false
	finish := func(feed func()) {
		if answered || p.dead {
			return
		}
		answered = true
		p.receive(feed)
	}
	w.trace("%s asks the store: %s", p, what)
	late := types.Time(0)
	switch {
	case write && w.possible(RequestLost, 12):
		w.at(w.now+requestTimeout, func() { finish(func() { failed(errcode.MetadataUnavailable, true) }) })
		return
	case write && w.possible(RequestLate, 12):
		late = requestTimeout/2 + w.some(8*types.Second)
	case w.possible(RequestSlow, 8):
		late = w.some(requestTimeout)
	}
	w.at(w.now+requestTimeout, func() { finish(func() { failed(errcode.MetadataUnavailable, write) }) })
	w.at(w.now+w.latency()+late, func() {
		s := w.store
		switch {
		case w.cut(p.host, storeHost):
			return // it times out
		case !s.up() && s.silent:
			return
		case !s.up():
			finish(func() { failed(errcode.MetadataUnavailable, false) })
			return
		case w.now < s.refuse:
			finish(func() { failed(errcode.MetadataRefused, false) })
			return
		}
		answer := do()
		if write && w.possible(AnswerLost, 10) {
			return
		}
		w.at(w.now+w.latency(), func() { finish(answer) })
	})
}

func (w *world) latency() types.Time { return types.Millisecond/4 + w.some(3*types.Millisecond) }

// receive feeds a process something, as soon as it runs.
func (p *proc) receive(feed func()) {
	if p.paused {
		p.inbox = append(p.inbox, feed)
		return
	}
	p.touched = true
	feed()
}

// storeHost stands for the store in w.cuts.
const storeHost = -1

// cut says whether two hosts cannot talk at present.
func (w *world) cut(a, b int) bool {
	if a > b {
		a, b = b, a
	}
	return w.now < w.cuts[[2]int{a, b}]
}
