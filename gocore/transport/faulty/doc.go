// Package faulty makes connections misbehave on purpose: a net.Conn and a net.Listener that delay, cut, reset, corrupt,
// split, duplicate, stall or go silent at a place drawn from a seed, and a Proxy that puts them between two ends that
// want sockets of their own.
//
// It is test code, in a package of its own because several packages' tests share it. It knows nothing of what travels.
// A Conn has one fault, in the direction that it writes; it keeps the rules of net.Conn for concurrent use.
package faulty
