package coherence

import "slices"

// maxPastStores bounds how many earlier store IDs are remembered.
const maxPastStores = 16

// storeMemory is what is known of the store itself: which one it is and how far its revision had come, to notice that it
// is another one or went back. The zero value knows nothing.
type storeMemory struct {
	known    bool
	id       string
	revision uint64
	turn     uint64   // counts the stores we have had
	past     []string // IDs before this one, oldest first
}

// storeMark is what was known when a request was sent: two answers may overtake each other, so only what was known before
// a linearizable read was sent can prove anything about its answer.
type storeMark struct{ turn, revision uint64 }

// storeVerdict is what an answer says about the store.
type storeVerdict uint8

const (
	sameStore  storeVerdict = iota
	staleStore              // sent to a store that is known to be over: its answer means nothing
	otherStore              // never seen before: it was emptied, restarted or re-made
	olderStore              // it went back: its ID must be re-made
)

func (m *storeMemory) mark() storeMark { return storeMark{m.turn, m.revision} }

// read takes the store ID and revision of a linearizable read that was sent at mark.
func (m *storeMemory) read(sent storeMark, id string, revision uint64) storeVerdict {
	switch {
	case !m.known:
		m.known, m.id, m.revision = true, id, revision
	case id != m.id && sent.turn != m.turn:
		return staleStore
	case id != m.id:
		again := slices.Contains(m.past, id)
		m.move(id, revision)
		if again {
			return olderStore
		}
		return otherStore
	case sent.turn == m.turn && revision < sent.revision:
		m.turn++
		m.revision = revision
		return olderStore
	default:
		m.revision = max(m.revision, revision)
	}
	return sameStore
}

// move makes id the present store.
func (m *storeMemory) move(id string, revision uint64) {
	if m.known && m.id != "" {
		if len(m.past) == maxPastStores {
			m.past = slices.Delete(m.past, 0, 1)
		}
		m.past = append(m.past, m.id)
	}
	m.turn++
	m.known, m.id, m.revision = true, id, revision
}
