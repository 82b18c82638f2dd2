// Package control is the control channel: one ordered session per pair of engine instances, and Describe beside it.
//
// It makes, chooses, watches and ends sessions, and carries events in order; what an event means is the engine's affair
// (Handler). It makes no promise across sessions: what was unanswered when a session ended is sent again by its owner.
// Nothing here is needed for memory safety: a session that lies or dies costs time, never bytes.
//
// Which session stays, of two between the same pair of instances, is decided by both sides from the same facts (prefer
// in choose.go). Of two by one dialler it is the higher number, so that a half-dead one never blocks its successor. Of
// two by different diallers it is that of the smaller instance ID, except when the other side says in its HELLO that it
// has seen that one end.
//
// Concurrency: all methods may be called from any goroutine. Handler methods for one peer are called one at a time, in
// order, with no lock held; they may call Send and Close, but neither Dial nor Node.Close, which wait for them. Each
// session has three goroutines (reader, writer, heartbeat); Node.Close ends them all.
//
// Trust: without a key or TLS whoever reaches the port is believed. A pre-shared key proves that both ends know it, and
// protects nothing that is sent afterwards from somebody in the path. Mutual TLS does; whoever holds a certificate of
// the configured CA is a member, under any instance ID.
package control
