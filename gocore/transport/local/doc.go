// Package local carries an engine's transfers to itself: the same grants, gates and results as on a wire, and a copy
// instead of one.
//
// A Path owns one worker goroutine, which copies in pieces so that a fence or an abort waits for one piece at most. It
// touches the target's memory between Memory.Enter and Leave only; the initiator's memory is held by the engine until
// PostDone. There is nothing to be lost on the way, so every result is answered.
package local
