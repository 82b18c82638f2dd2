// Package hostile calls the C functions of te.h as a careless or hostile caller would: in any order, with handles that
// are gone or were never any, counts that are too large, pointers that are NULL or not aligned, text that is not text.
// It reads what to do from bytes, so that a fuzzer can steer it.
//
// It is test code, in a package of its own because test files cannot import "C". What no library can survive is left
// out: pointers that lie about the memory behind them.
package hostile
