// Package mem is a metadata store in the memory of one process: for programs that run several engines in one process
// (mem://NAME), and for tests, which can stop its clock, cut its clients off, lose its answers, empty it and set it back.
//
// It keeps the whole contract of gocore/store, epochs, leases and push included. It is no server: another process sees
// nothing of it, and what it holds ends with the last store that is open on it.
//
// # Ownership and concurrency
//
// A Server holds the state behind one mutex; a Store is one client of it. Methods of both may be called from any
// goroutine. There are no goroutines of its own: leases run out by a timer of the runtime or, with Options.Manual, when
// Advance is called.
package mem
