// Package invariants switches internal checks on in tests and off in what ships.
//
// Enabled is a constant, so `if invariants.Enabled { ... }` costs nothing in a normal build. It is true with the build
// tag "invariants" and under the race detector. A failed check panics: it means that our own code is wrong, never that
// a caller, a peer or the network is. Those get typed errors (gocore/errcode).
package invariants
