// Package etcd keeps heads in etcd (3.4 or later): epochs are the owner key's ModRevision, compare-and-set is a
// transaction, leases are etcd's, changes come by its watch. It keeps the whole contract of gocore/store.
//
// Only single steps of the client library are used. Its keep-alives (which count from the response and drop some when
// nobody reads) and its watcher (which resumes by itself, also against a store that was wiped or set back) are not: a
// lease is renewed by one request and one linearizable read, and a watch whose stream breaks ends, so that whoever wants
// it lists again.
//
// # Ownership and concurrency
//
// A Store owns one connection per endpoint, made at the first use, and has no goroutine of its own but those of the
// library and, while a Watch runs, one beside it. All methods may be called from any goroutine.
//
// # Permissions
//
// With authentication on, the user needs read and write on mooncake_te/<cluster>/ and mooncake/<cluster>/.
package etcd
