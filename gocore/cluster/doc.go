// Package cluster carries out, against a metadata store, what the pure machines of gocore/coherence decide: Announcer
// keeps one segment name of this engine (coherence.Publisher), Resolver follows the names of other segments
// (coherence.Directory). Here are the goroutines, timers, clocks and timeouts; no decision is made here.
//
// # Ownership and concurrency
//
// Each of the two has one lock, held while its machine is fed and never during I/O or while the engine is called, so
// the engine may call in with locks of its own. Every request to the store runs in a goroutine with a timeout; Close
// waits for all of them. The store belongs to whoever opened it.
package cluster
