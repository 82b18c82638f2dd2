// Package metaserver is the HTTP metadata server: one store of heads in memory, for a cluster of engines and for stock
// Mooncake clients beside them.
//
// Engines speak the protocol of gocore/store/httpapi (epochs, compare-and-set, leases, a stream of changes); stock
// clients use GET, PUT and DELETE of one key. Both see the same stock keys: what an engine publishes for stock readers
// lies on its lease, and what a stock client puts is listed to engines.
//
// Nothing is kept on disk. A restart is a store with another store ID; owners notice and publish again, which is what
// they do after any store went back. So there is nothing to recover, and nothing that a crash can damage.
//
// # Ownership and concurrency
//
// A Server owns its listener, its goroutines (one that accepts, one that ends leases, one per connection) and its table;
// Close ends them all. The table is behind one mutex and knows neither HTTP nor goroutines. Documents of records are
// immutable once made: the event ring, listings and watchers share them.
package metaserver
