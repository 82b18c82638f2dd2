// Package lint holds tests that read the source of this module and fail where it breaks a rule that compilers and
// linters do not know: which layer may import which, where C may be used, what the pure core must not touch, how long a
// file may get. There is nothing in it to import.
package lint
