// Package conformance says what it means to be a transport: one suite that every implementation of transport.Path passes,
// with an owner in miniature (Target) and a recording Sink, so that the transports are tested without an engine.
//
// It is test code, in a package of its own because the transports' tests share it.
package conformance
