// Package pyapi is a metadata client for operators' scripts, in types that go-python/gopy can turn into a Python module:
// strings in, JSON out. It describes, lists, decodes and compares what engines publish; it moves no data and owns no
// name. `make gopy` builds the module (tools/gopy); the ctypes package is what applications use.
//
// # Concurrency and ownership
//
// A Client may be used from any thread; Close ends it. Every function recovers: a panic becomes an error, never the end
// of the interpreter. Strings are copied on the way in and out.
package pyapi
