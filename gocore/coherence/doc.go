// Package coherence is the pure heart of the engine: state machines that are fed events and a time, and answer with
// actions. It does no I/O, reads no clock, starts no goroutine and takes no lock; its callers serialise.
//
// Owner decides for the instance that owns memory: versions, registrations and grants with READY/DRAINING, holders, the
// floor, acknowledged drain with deadline and fence, connection tokens with RETIRE.
//
// View decides for a reader of one peer *instance*, however many names lead to it: adopt or refuse a descriptor, what a
// change invalidates, floors of paths, promises, what to acknowledge, which paths to retire.
//
// Transfer decides the life of one batch: cutting into posts, retry, cancel, deadlines, outcome and cause, and both
// kinds of quiet.
//
// The engine carries the actions out; the seeded simulator (package sim below this one) does the same with a fake
// network, so the code that ships is the code that is tested.
//
// Actions are returned in the order in which they must be carried out. Whoever feeds a machine must enqueue messages to
// a peer in that order and before feeding the next event: the ordered session is what makes ATTACHED and DRAIN compare.
package coherence
